// SPDX-License-Identifier: Apache-2.0
#include "worker/tls/connector.h"

#include "common/config/service_name.h"
#include "common/os/log.h"
#include "worker/tls/certificates.h"

#include <openssl/x509v3.h>

#include <utility>

namespace ladle::worker {

namespace {

constexpr unsigned char kHttp1[] = "\x08http/1.1";
constexpr unsigned char kHttp2[] = "\x02h2";

/// "10.0.0.1:443" and "[::1]:443" without the port and the brackets; empty for a name or a Unix socket.
std::string literal_host(const config::UpstreamServer& server)
{
    if (!server.host_name.empty() || server.text.starts_with("unix:")) {
        return {};
    }
    std::string host = server.text.substr(0, server.text.rfind(':'));
    return host.starts_with('[') ? host.substr(1, host.size() - 2) : host;
}

} // namespace

X509_STORE* TlsConnector::authorities(const config::SharedText& text)
{
    auto& store = stores_[text.text.data()];
    if (store) {
        return store.get();
    }
    store = parse_authorities(text, nullptr);
    return store.get();
}

SslSettingsPtr TlsConnector::make_settings(const config::Upstream& upstream)
{
    const config::UpstreamTls& tls = *upstream.tls;
    SslSettingsPtr settings(SSL_CTX_new(TLS_client_method()));
    if (!settings || SSL_CTX_set_min_proto_version(settings.get(), TLS1_2_VERSION) != 1) {
        return nullptr;
    }
    SSL_CTX_set_options(settings.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(settings.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(settings.get(), SSL_SESS_CACHE_OFF); // TlsSession is ours
    if (upstream.protocol == config::UpstreamProtocol::h2) {
        SSL_CTX_set_alpn_protos(settings.get(), kHttp2, sizeof kHttp2 - 1);
    } else {
        SSL_CTX_set_alpn_protos(settings.get(), kHttp1, sizeof kHttp1 - 1);
    }
    if (tls.verifies) {
        X509_STORE* store = authorities(tls.ca);
        if (store == nullptr) {
            return nullptr;
        }
        SSL_CTX_set1_cert_store(settings.get(), store);
        SSL_CTX_set_verify(settings.get(), SSL_VERIFY_PEER, nullptr);
    }
    if (tls.certificate) {
        const ParsedCertificate own = parse_certificate(*tls.certificate, &device_);
        if (!own.leaf || SSL_CTX_use_cert_and_key(settings.get(), own.leaf.get(), own.key.get(), own.issuers.get(), 1) != 1) {
            return nullptr;
        }
    }
    return settings;
}

SSL_CTX* TlsConnector::settings_for(const config::Upstream& upstream)
{
    const auto [at, is_new] = settings_.try_emplace(&upstream);
    if (is_new) {
        at->second = make_settings(upstream);
        if (!at->second) {
            os::log(os::Level::error, "TLS with servers cannot be set up",
                    {{"upstream", upstream.name}, {"reason", take_tls_error()}});
        }
    }
    return at->second.get();
}

/// Which name the server is asked for, and must prove.
bool TlsConnector::set_identity(SSL* ssl, const config::UpstreamTls& tls, const config::UpstreamServer& server)
{
    const std::string name = tls.sni.empty() ? config::domain_of(server) : tls.sni;
    if (!name.empty()) {
        return SSL_set_tlsext_host_name(ssl, name.c_str()) == 1 && (!tls.verifies || SSL_set1_host(ssl, name.c_str()) == 1);
    }
    const std::string address = literal_host(server);
    return !tls.verifies || address.empty() || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), address.c_str()) == 1;
}

std::unique_ptr<Encryption> TlsConnector::connect(loop::Loop& loop, Socket& socket, const config::Upstream& upstream,
                                                  const config::UpstreamServer& server)
{
    SSL_CTX* settings = settings_for(upstream);
    SslPtr ssl = settings != nullptr ? make_ssl(*settings) : nullptr;
    if (!ssl || !set_identity(ssl.get(), *upstream.tls, server)) {
        return nullptr;
    }
    std::shared_ptr<TlsSession>& session = sessions_[&server];
    if (!session) {
        session = std::make_shared<TlsSession>();
    }
    if (session->session) {
        SSL_set_session(ssl.get(), session->session.get());
    }
    if (upstream.tls->certificate && upstream.tls->certificate->is_in_device()) {
        SSL_set_mode(ssl.get(), SSL_MODE_ASYNC); // the signature takes its time
    }
    SSL_set_connect_state(ssl.get());
    auto stream = std::make_unique<TlsStream>(loop, socket, std::move(ssl), TlsStream::Peer::server, row_);
    stream->keep_session_in(session);
    return stream;
}

} // namespace ladle::worker
