//! TLS towards clients.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::ServerTlsSettings;
use crate::connections::{TlsError, certificates, private_key};

/// The time that a client has to agree on keys.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Why clients cannot be served as `host.tls` says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerTlsError {
    #[error("`host.tls`: {0}")]
    File(#[from] TlsError),
    #[error(
        "`host.tls`: `{}` and `{}` cannot be used together: {error}\n  hint: is it the key of that certificate?",
        certificate.display(), key.display()
    )]
    Pair { certificate: PathBuf, key: PathBuf, error: rustls::Error },
    #[error(
        "`host.tls.client_ca`: `{}` cannot be used: {reason}\n  hint: it must be a PEM file with the certificates of \
         authorities",
        path.display()
    )]
    ClientCa { path: PathBuf, reason: String },
}

#[derive(Clone)]
pub(super) struct Tls(TlsAcceptor);

impl Tls {
    /// `required`: who shows no certificate is not let in, where certificates are asked for.
    pub(super) fn new(settings: &ServerTlsSettings, required: bool) -> Result<Self, ServerTlsError> {
        let ServerTlsSettings { certificate, key, client_ca, .. } = settings;
        let pair = |error| ServerTlsError::Pair { certificate: certificate.clone(), key: key.clone(), error };
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(pair)?;
        let builder = match client_ca {
            Some(path) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(
                    Arc::new(roots(path)?),
                    Arc::new(ring::default_provider()),
                );
                let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
                let verifier = verifier.build().map_err(|error| unusable(path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let chain = der(&certificates(certificate)?);
        let secret = PrivateKeyDer::from_pem_slice(&private_key(key)?)
            .map_err(|_| TlsError::Invalid { path: key.clone(), what: "private key" })?;
        let mut config = builder.with_single_cert(chain, secret).map_err(pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(super) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        tokio::time::timeout(HANDSHAKE, self.0.accept(stream)).await?
    }
}

fn roots(path: &Path) -> Result<RootCertStore, ServerTlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in der(&certificates(path)?) {
        roots.add(certificate).map_err(|error| unusable(path, &error))?;
    }
    Ok(roots)
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> ServerTlsError {
    ServerTlsError::ClientCa { path: path.to_owned(), reason: error.to_string() }
}

/// Those of a text that was looked through.
fn der(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).flatten().collect()
}
