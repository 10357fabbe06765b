//! Compiling what is not bundled: in a process of its own, with bounds.
//!
//! A compiler takes of memory and time what the component makes it take; and a small file, made
//! for that, makes it take all that there is. So this program starts itself a second time
//! (`returner compile`), and that process compiles one component and ends.
//!
//! # Invariants
//! - The process has bounds of memory, processor time and output, which it sets itself before it
//!   looks at the component, and one of time by who started it. It is not outlived by them: who
//!   started it kills it and waits for it, and the system kills it when they are gone.
//! - It is given the component and nothing else: no environment, no files, no directory.
//! - What comes back is run as it is. So it comes through a file without a name that only the two
//!   processes have, and counts only if the process ended well.
//! - At most one is at work for the configuration, and one for trials.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getppid, getrlimit, nice, set_parent_process_death_signal, setrlimit,
};
use tokio_util::sync::CancellationToken;

/// How often it is looked at whether the process has ended.
const LOOK: Duration = Duration::from_millis(5);

/// The most of what the process complained that is told, in bytes.
const COMPLAINT: u64 = 4096;

/// The most threads that compile: each takes memory of its own.
const THREADS: usize = 8;

/// The process's exit code for what is no component.
const DAMAGED: u8 = 65;

/// Bounds of compiling one component.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CompileBounds {
    /// Address space, in bytes.
    pub(crate) memory: u64,
    /// Of all of its threads, in seconds.
    pub(crate) processor: u64,
    /// Of the compiled code, in bytes.
    pub(crate) output: u64,
    /// From its start to its end.
    pub(crate) time: Duration,
}

/// What Python makes (18 MB, its interpreter in it) takes 15 seconds of processor time and half a
/// gigabyte, and is 35 MB of code; other tools make twice as much, and slow machines take longer.
pub(super) const BOUNDS: CompileBounds =
    CompileBounds { memory: 4 << 30, processor: 300, output: 512 << 20, time: Duration::from_secs(600) };

/// Why there is no compiled code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    /// It is not a component; what is wrong with it.
    #[error("{0}")]
    Damaged(String),
    #[error("takes more than {} of memory", bytesize::ByteSize(*.0))]
    Memory(u64),
    #[error("takes more than {0} seconds of processor time")]
    Processor(u64),
    #[error("makes more than {} of code", bytesize::ByteSize(*.0))]
    Output(u64),
    #[error("takes more than {0:?}")]
    Time(Duration),
    #[error("was given up: nobody waits for it any more")]
    GivenUp,
    #[error("ended with {status}{}", said(.complaint))]
    Ended { status: ExitStatus, complaint: String },
    #[error("needs a process of its own, which cannot be had: {0}")]
    Process(io::Error),
}

impl CompileError {
    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Process(_) => {
                "the host starts `/proc/self/exe`: `/proc` must be there, and the service be allowed to run it"
            }
            Self::GivenUp => "ask again",
            _ => {
                "no plugin of a usual build needs so much: look where the file comes from, and build it again, with \
                 optimisation"
            }
        }
    }
}

fn said(complaint: &str) -> String {
    if complaint.is_empty() { String::new() } else { format!(": {complaint}") }
}

/// Starts the processes.
#[derive(Debug, Clone)]
pub(super) struct Compiler {
    program: PathBuf,
    bounds: CompileBounds,
}

impl Compiler {
    pub(super) fn new() -> Self {
        Self { program: own_program(), bounds: BOUNDS }
    }

    /// What [`returner_engine::precompile`] makes of a component. Blocks until it is there;
    /// `given_up` ends it before.
    pub(super) fn compile(
        &self,
        component: &[u8],
        given_up: &CancellationToken,
    ) -> Result<Vec<u8>, CompileError> {
        let bounds = self.bounds.within(&getrlimit);
        let (input, mut output, mut complaint) = nameless("component")
            .and_then(|file| filled(file, component))
            .and_then(|input| Ok((input, nameless("compiled")?, nameless("complaint")?)))
            .map_err(CompileError::Process)?;
        let child = self.start(&bounds, input, &output, &complaint).map_err(CompileError::Process)?;
        let status = wait(child, bounds.time, given_up)?;
        if status.success() {
            return from_start(&mut output, u64::MAX).map_err(CompileError::Process);
        }
        let complaint = from_start(&mut complaint, COMPLAINT).map_err(CompileError::Process)?;
        let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
        Err(bounds.error(status, complaint))
    }

    fn start(
        &self,
        bounds: &CompileBounds,
        input: File,
        output: &File,
        complaint: &File,
    ) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
        command
            .arg("compile")
            .args(["--memory", &bounds.memory.to_string()])
            .args(["--processor", &bounds.processor.to_string()])
            .args(["--output", &bounds.output.to_string()])
            .args(["--parent", &std::process::id().to_string()])
            .env_clear()
            .env("RAYON_NUM_THREADS", threads.to_string())
            .current_dir("/")
            // Ctrl-C is for who started it, and ends this with them.
            .process_group(0)
            .stdin(input)
            .stdout(output.try_clone()?)
            .stderr(complaint.try_clone()?);
        command.spawn()
    }
}

/// This very program, also if its file was removed or replaced since.
#[cfg(not(test))]
fn own_program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// What runs is a test.
#[cfg(test)]
fn own_program() -> PathBuf {
    returner_servers::program()
}

/// Waits on the thread that has started it: the system ends the process with that.
fn wait(
    mut child: Child,
    within: Duration,
    given_up: &CancellationToken,
) -> Result<ExitStatus, CompileError> {
    let begun = Instant::now();
    let error = loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if given_up.is_cancelled() => break CompileError::GivenUp,
            Ok(None) if begun.elapsed() >= within => break CompileError::Time(within),
            Ok(None) => std::thread::sleep(LOOK),
            Err(error) => break CompileError::Process(error),
        }
    };
    let _ = child.kill();
    let _ = child.wait();
    Err(error)
}

fn nameless(what: &str) -> io::Result<File> {
    Ok(File::from(memfd_create(what, MemfdFlags::CLOEXEC)?))
}

fn filled(mut file: File, content: &[u8]) -> io::Result<File> {
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

fn from_start(file: &mut File, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.rewind()?;
    file.take(most).read_to_end(&mut content)?;
    Ok(content)
}

impl CompileBounds {
    /// Those that are narrower where this process has narrower ones.
    fn within(&self, limit: &dyn Fn(Resource) -> Rlimit) -> Self {
        let least = |resource, bound: u64| {
            let Rlimit { current, maximum } = limit(resource);
            bound.min(current.unwrap_or(u64::MAX)).min(maximum.unwrap_or(u64::MAX))
        };
        Self {
            memory: least(Resource::As, self.memory),
            processor: least(Resource::Cpu, self.processor),
            output: least(Resource::Fsize, self.output),
            time: self.time,
        }
    }

    /// What an end that is not well was about.
    fn error(&self, status: ExitStatus, complaint: String) -> CompileError {
        let by = status.signal().and_then(Signal::from_named_raw);
        match by {
            Some(Signal::XCPU) => CompileError::Processor(self.processor),
            Some(Signal::XFSZ) => CompileError::Output(self.output),
            // The allocator's own words; there is no other way for it to tell.
            _ if complaint.contains("memory allocation of") => CompileError::Memory(self.memory),
            // Nobody else kills but the system, which is out of memory.
            Some(Signal::KILL) => CompileError::Memory(self.memory),
            _ if status.code() == Some(DAMAGED.into()) => CompileError::Damaged(complaint),
            _ => CompileError::Ended { status, complaint },
        }
    }

    /// Puts them on this process; what is narrower already stays.
    fn set(&self) -> io::Result<()> {
        for (resource, bound, below) in [
            (Resource::As, self.memory, 0),
            // The lower one has a signal of its own, where it is lower.
            (Resource::Cpu, self.processor, 1),
            (Resource::Fsize, self.output, 0),
            (Resource::Core, 0, 0),
        ] {
            let maximum = getrlimit(resource).maximum;
            let most = maximum.map_or(u64::MAX, |maximum| maximum.saturating_sub(below));
            setrlimit(resource, Rlimit { current: Some(bound.min(most)), maximum })?;
        }
        Ok(())
    }
}

/// The other process: stdin is the component, stdout what is compiled.
pub(crate) fn compile_alone(bounds: &CompileBounds, parent: u32) -> ExitCode {
    match compile_bounded(bounds, parent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CompileError::Damaged(reason)) => {
            eprintln!("{reason}");
            ExitCode::from(DAMAGED)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compile_bounded(bounds: &CompileBounds, parent: u32) -> Result<(), CompileError> {
    end_with(parent).map_err(CompileError::Process)?;
    // Who serves comes a little before who compiles, for which somebody waits, too; and of the two
    // the system is to kill this one where memory is short. Where that cannot be had it is as it was.
    let _ = nice(1);
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    bounds.set().map_err(CompileError::Process)?;
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component).map_err(CompileError::Process)?;
    let damaged =
        |error: wasmtime::Error| CompileError::Damaged(super::words::line(&error.root_cause().to_string()));
    let engine = returner_engine::engine().map_err(damaged)?;
    let compiled = returner_engine::precompile(&engine, &component).map_err(damaged)?;
    let mut output = io::stdout().lock();
    output.write_all(&compiled).and_then(|()| output.flush()).map_err(CompileError::Process)
}

/// Has the system end this process with the one that started it.
fn end_with(parent: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = i32::try_from(parent).ok().and_then(Pid::from_raw);
    // It may have ended before that was asked for.
    match parent.is_some() && getppid() == parent {
        true => Ok(()),
        false => Err(io::Error::other("who asked for it is gone")),
    }
}

#[cfg(test)]
mod tests {
    use returner_servers::compile_bomb as bomb;

    use super::*;

    fn compile(bounds: CompileBounds, component: &[u8]) -> Result<Vec<u8>, CompileError> {
        let compiler = Compiler { bounds, ..Compiler::new() };
        compiler.compile(component, &CancellationToken::new())
    }

    #[test]
    fn what_comes_back_is_what_the_engine_makes() {
        let component = bomb(3, 3);
        let engine = returner_engine::engine().unwrap();
        let own = returner_engine::precompile(&engine, &component).unwrap();
        assert!(compile(BOUNDS, &component).unwrap() == own);
    }

    #[test]
    fn memory_has_a_bound() {
        let bounds = CompileBounds { memory: 400 << 20, ..BOUNDS };
        let error = compile(bounds, &bomb(20_000, 200)).unwrap_err();
        assert!(matches!(error, CompileError::Memory(_)), "{error}");
        assert!(error.to_string().contains("400.0 MiB of memory"), "{error}");
    }

    #[test]
    fn processor_time_has_a_bound() {
        let error = compile(CompileBounds { processor: 1, ..BOUNDS }, &bomb(5000, 100)).unwrap_err();
        assert!(matches!(error, CompileError::Processor(1)), "{error}");
    }

    #[test]
    fn time_has_a_bound_also_for_what_takes_no_processor() {
        let bounds = CompileBounds { time: Duration::ZERO, ..BOUNDS };
        let error = compile(bounds, &bomb(5000, 100)).unwrap_err();
        assert!(matches!(error, CompileError::Time(_)), "{error}");
    }

    #[test]
    fn code_has_a_bound() {
        let error = compile(CompileBounds { output: 1000, ..BOUNDS }, &bomb(3, 3)).unwrap_err();
        assert!(matches!(error, CompileError::Output(1000)), "{error}");
    }

    #[test]
    fn what_nobody_waits_for_is_given_up() {
        let given_up = CancellationToken::new();
        given_up.cancel();
        let error = Compiler::new().compile(&bomb(5000, 100), &given_up).unwrap_err();
        assert!(matches!(error, CompileError::GivenUp), "{error}");
    }

    #[test]
    fn what_is_no_component_is_told_in_the_compilers_words() {
        let error = compile(BOUNDS, &bomb(3, 3)[..60]).unwrap_err();
        assert!(matches!(&error, CompileError::Damaged(reason) if !reason.is_empty()), "{error}");
    }

    #[test]
    fn a_program_that_cannot_be_run_is_told() {
        let compiler = Compiler { program: PathBuf::from("/nonexistent"), bounds: BOUNDS };
        let error = compiler.compile(&bomb(3, 3), &CancellationToken::new()).unwrap_err();
        assert!(matches!(error, CompileError::Process(_)) && error.hint().contains("/proc"), "{error}");
    }

    /// A bound that the host itself has been given holds for what it starts.
    #[test]
    fn narrower_bounds_of_the_host_stay() {
        let limit = |resource| {
            let current = matches!(resource, Resource::As).then_some(1 << 30);
            Rlimit { current, maximum: None }
        };
        let bounds = BOUNDS.within(&limit);
        assert_eq!((bounds.memory, bounds.processor), (1 << 30, BOUNDS.processor));
    }
}
