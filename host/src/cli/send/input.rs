//! What `returner send` reads: a file or stdin, by lines or as a whole.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};

use super::Failure;

pub(super) struct Input {
    /// For messages; `-` is stdin.
    file: PathBuf,
    reader: Box<dyn AsyncBufRead + Unpin + Send>,
    /// How many were read.
    lines: usize,
    /// Its bytes, where that is known.
    size: Option<u64>,
}

/// What editors of Windows put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

pub(super) struct Line {
    /// With its end.
    pub(super) bytes: u64,
    /// From 1.
    pub(super) number: usize,
    /// Or why nobody can read it: the lines after it are none the worse for that.
    pub(super) text: Result<String, String>,
}

impl Input {
    pub(super) async fn open(file: &Path) -> Result<Self, Failure> {
        let mut size = None;
        let mut reader: Box<dyn AsyncBufRead + Unpin + Send> = if file == Path::new("-") {
            Box::new(BufReader::new(tokio::io::stdin()))
        } else if file.is_dir() {
            return Err(Failure::failed(format!(
                "`{}` is a directory\n  hint: name a file in it; several files of lines go by a pipe: `cat DIR/* | \
                 returner send`",
                file.display()
            )));
        } else {
            let opened = tokio::fs::File::open(file).await.map_err(|error| unreadable(file, &error))?;
            size = opened.metadata().await.ok().filter(Metadata::is_file).map(|metadata| metadata.len());
            Box::new(BufReader::new(opened))
        };
        let begin = reader.fill_buf().await.map_err(|error| unreadable(file, &error))?;
        if begin.starts_with(BYTE_ORDER_MARK) {
            reader.consume(BYTE_ORDER_MARK.len());
        }
        Ok(Self { file: file.to_owned(), reader, lines: 0, size })
    }

    /// How much it is, if it is a file.
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Whether it is a JSON array: by its first byte that is no white space, which stays
    /// unread.
    pub(super) async fn is_array(&mut self) -> Result<bool, Failure> {
        loop {
            let buffer = self.reader.fill_buf().await.map_err(|error| unreadable(&self.file, &error))?;
            let blank = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            if blank < buffer.len() || buffer.is_empty() {
                return Ok(buffer.get(blank) == Some(&b'['));
            }
            self.lines += buffer.iter().filter(|byte| **byte == b'\n').count();
            self.reader.consume(blank);
        }
    }

    pub(super) async fn line(&mut self) -> Result<Option<Line>, Failure> {
        let mut bytes = Vec::new();
        let read = self.reader.read_until(b'\n', &mut bytes).await;
        if read.map_err(|error| unreadable(&self.file, &error))? == 0 {
            return Ok(None);
        }
        self.lines += 1;
        let length = bytes.len() as u64;
        let text = String::from_utf8(bytes).map_err(|error| not_utf8(error.utf8_error()));
        Ok(Some(Line { bytes: length, number: self.lines, text }))
    }

    /// All that is left.
    pub(super) async fn text(&mut self) -> Result<String, Failure> {
        let mut bytes = Vec::new();
        let read = self.reader.read_to_end(&mut bytes).await;
        read.map_err(|error| unreadable(&self.file, &error))?;
        String::from_utf8(bytes).map_err(|error| {
            let reason = not_utf8(error.utf8_error());
            Failure::refused(format!("`{}` cannot be read as an array: {reason}", self.file.display()))
        })
    }
}

fn not_utf8(error: std::str::Utf8Error) -> String {
    format!("it is not UTF-8 at byte {}", error.valid_up_to())
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot read `{}`: {error}", file.display()))
}
