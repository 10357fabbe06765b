//! What a test does to a server of its own: kill it, start it again, make it hang.

use crate::error::StartError;
use crate::process::Process;

/// A server that a test may stop, if it started it.
#[expect(async_fn_in_trait, reason = "used by the tests of this workspace only, and never spawned")]
pub trait Server {
    /// Its process, none for a server that the environment names.
    fn process(&mut self) -> &mut Option<Process>;

    /// Runs it where it always is, and waits until it answers.
    ///
    /// # Errors
    ///
    /// If it does not.
    async fn run(&self) -> Result<Process, StartError>;

    /// Ends it as a power cut would. Its address stays free for [`Server::restart`].
    fn kill(&mut self) {
        own(self).kill();
    }

    /// Starts it again, with the same address and data.
    ///
    /// # Panics
    ///
    /// If it does not start.
    async fn restart(&mut self) {
        own(self).kill();
        match self.run().await {
            Ok(process) => *self.process() = Some(process),
            Err(error) => panic!("{error}"),
        }
    }

    /// Makes it hang.
    fn pause(&mut self) {
        own(self).pause();
    }

    /// Lets it go on.
    fn resume(&mut self) {
        own(self).resume();
    }
}

fn own<S: Server + ?Sized>(server: &mut S) -> &mut Process {
    server.process().as_mut().expect("a test stops only a server that it started")
}
