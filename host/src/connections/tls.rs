//! Reads the PEM files of a connection before anything connects, so that a wrong
//! path or a file that is no certificate is found when the configuration is loaded.
//!
//! Which of them a library wants to read once more is its own business. For drivers that leave
//! TLS to rustls, this is also where a server's certificate is looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

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

/// How much of a server's certificate is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verify {
    /// Nothing: whoever is in between can read along.
    Nothing,
    /// Who vouches for it, whatever name it has.
    Authority,
    /// That it has the server's name, too.
    Name,
}

/// TLS to a server, for drivers that leave it to rustls. Without an authority of its own, the
/// public ones vouch for it.
pub(super) fn client(pem: Pem, verify: Verify) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    match &pem.ca {
        Some(ca) => {
            let mut authorities = CertificateDer::pem_slice_iter(ca).flatten();
            authorities.try_for_each(|authority| roots.add(authority))?;
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let authorities = authorities.build().map_err(|error| rustls::Error::General(error.to_string()))?;
    let verifier = Verifier { verify, authorities };
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let Some(ClientPem { certificate, key }) = pem.client else { return Ok(config.with_no_client_auth()) };
    let chain = CertificateDer::pem_slice_iter(&certificate).flatten().collect();
    // It was read before, as PEM.
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| rustls::Error::General("the private key cannot be read".to_owned()))?;
    config.with_client_auth_cert(chain, key)
}

/// What rustls itself does, or less.
#[derive(Debug)]
struct Verifier {
    verify: Verify,
    authorities: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        if self.verify == Verify::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        match self.authorities.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
                if self.verify == Verify::Authority =>
            {
                Ok(ServerCertVerified::assertion())
            }
            done => done,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
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
