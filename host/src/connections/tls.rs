//! Reads the PEM files of a connection before anything connects, so that a wrong
//! path or a file that is no certificate is found when the configuration is loaded.
//!
//! Which of them a library wants to read once more is its own business.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::TlsSettings;

/// A PEM file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read `{}`: {error}\n  hint: check the path, and that this user may read it", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("there is no {what} in `{}`\n  hint: it must be a PEM file", path.display())]
    Missing { path: PathBuf, what: &'static str },
    #[error("`{}` is not a valid {what}\n  hint: it must be a PEM file", path.display())]
    Invalid { path: PathBuf, what: &'static str },
    #[error(
        "a client certificate without its key, or a key without its certificate\n  hint: set both or none"
    )]
    Half,
}

/// The contents of the files of [`TlsSettings`], each checked to be what it should.
#[derive(Default)]
pub(super) struct Pem {
    pub(super) ca: Option<Vec<u8>>,
    pub(super) client: Option<ClientPem>,
}

pub(super) struct ClientPem {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

pub(super) fn read(settings: &TlsSettings) -> Result<Pem, TlsError> {
    let ca = settings.ca.as_deref().map(certificates).transpose()?;
    let client = match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => {
            Some(ClientPem { certificate: certificates(certificate)?, key: private_key(key)? })
        }
        (None, None) => None,
        _ => return Err(TlsError::Half),
    };
    Ok(Pem { ca, client })
}

/// The text of a PEM file that has certificates.
pub(crate) fn certificates(path: &Path) -> Result<Vec<u8>, TlsError> {
    let what = "certificate";
    let text = contents(path)?;
    let mut certificates = 0;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        certificate.map_err(|_| TlsError::Invalid { path: path.to_owned(), what })?;
        certificates += 1;
    }
    if certificates == 0 {
        return Err(TlsError::Missing { path: path.to_owned(), what });
    }
    Ok(text)
}

/// The text of a PEM file that has a private key.
pub(crate) fn private_key(path: &Path) -> Result<Vec<u8>, TlsError> {
    let what = "private key";
    let text = contents(path)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(_) => Ok(text),
        Err(pem::Error::NoItemsFound) => Err(TlsError::Missing { path: path.to_owned(), what }),
        // The error's text could quote the key.
        Err(_) => Err(TlsError::Invalid { path: path.to_owned(), what }),
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Read { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("a temporary file");
        file
    }

    fn ca(path: &Path) -> Result<Pem, TlsError> {
        read(&TlsSettings { ca: Some(path.to_owned()), ..TlsSettings::default() })
    }

    #[test]
    fn files_are_looked_into() {
        assert!(ca(file(CERTIFICATE).path()).is_ok());
        assert!(matches!(ca(file("hello").path()), Err(TlsError::Missing { .. })));
        let cut = CERTIFICATE.replace("AAAA", "A*A");
        assert!(matches!(ca(file(&cut).path()), Err(TlsError::Invalid { .. })));
        assert!(matches!(ca(Path::new("/nowhere/ca.pem")), Err(TlsError::Read { .. })));
    }

    #[test]
    fn a_certificate_needs_its_key() {
        let certificate = file(CERTIFICATE);
        let mut settings =
            TlsSettings { certificate: Some(certificate.path().to_owned()), ..TlsSettings::default() };
        assert!(matches!(read(&settings), Err(TlsError::Half)));
        settings.key = Some(certificate.path().to_owned());
        assert!(matches!(read(&settings), Err(TlsError::Missing { what: "private key", .. })));
    }
}
