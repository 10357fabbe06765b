//! Reading the file of a plugin, which may be anything.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytesize::ByteSize;
use rustix::fs::OFlags;

/// The most bytes of a component: what Python's tools make has 18 million.
const MOST: u64 = 256 << 20;

/// What stands in it. Blocks.
///
/// # Errors
/// If it cannot be read, is no file (a pipe would keep who reads it, a device give without end), or
/// is larger than any plugin.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_at_most(path, MOST)
}

fn read_at_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // A pipe that nobody writes to is opened at once.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    // Of what was opened: the path may lead elsewhere by now.
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file that has an end"));
    }
    let too_large = |size: &str| {
        let most = ByteSize(most);
        io::Error::other(format!("it has {size}, and a plugin at most {most}"))
    };
    if metadata.len() > most {
        return Err(too_large(&ByteSize(metadata.len()).to_string()));
    }
    let mut content = Vec::new();
    // It may grow meanwhile.
    file.take(most + 1).read_to_end(&mut content)?;
    match content.len() as u64 > most {
        true => Err(too_large("more and more")),
        false => Ok(content),
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_file_is_read_and_nothing_without_an_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.wasm");
        std::fs::write(&path, "four").unwrap();
        assert_eq!(read_at_most(&path, 4).unwrap(), b"four");
        let error = read_at_most(&path, 3).unwrap_err().to_string();
        assert!(error.contains("a plugin at most 3 B"), "{error}");
        // Terabytes, of which none is on the disk.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("1.0 TiB"), "{error}");
        let pipe = directory.path().join("pipe.wasm");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        for endless in [&pipe, Path::new("/dev/zero"), directory.path()] {
            let error = read(endless).unwrap_err().to_string();
            assert!(error.contains("no file that has an end"), "{}: {error}", endless.display());
        }
        assert_eq!(read(&path.with_extension("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
