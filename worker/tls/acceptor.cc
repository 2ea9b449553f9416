// SPDX-License-Identifier: Apache-2.0
#include "worker/tls/acceptor.h"

#include "common/config/names.h"
#include "common/os/log.h"
#include "worker/tls/memory.h"
#include "worker/tls/ocsp.h"
#include "worker/tls/stream.h"
#include "worker/tls/tickets.h"

#include <openssl/err.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <string>

namespace ladle::worker {

namespace {

/// The protocols that we speak, as ALPN has them, the best first.
constexpr std::string_view kH2 = "\x02h2";
constexpr std::string_view kH1 = "\x08http/1.1";
constexpr std::string_view kBoth = "\x02h2\x08http/1.1";

// Mozilla's "intermediate" recommendation (5.7), but for DHE, which only clients older than ECDHE need. TLS 1.3 has its own suites.
constexpr const char* kCiphers = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
                                 "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
constexpr const char* kGroups = "X25519:P-256:P-384";

constexpr std::uint32_t kMostEarlyData = 16 << 10; // bytes: what OpenSSL reads over where it is refused

/// Only so that a client that asked for a name hears that it was understood: the choice was made before.
int on_server_name(SSL* ssl, int*, void*)
{
    return SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) != nullptr ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

/// The index of the address that the client came in on, among the configuration's.
std::uint32_t listen_of(const SSL* ssl) noexcept
{
    return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(SSL_get_app_data(ssl)));
}

std::uint16_t two_bytes(const unsigned char* at) noexcept
{
    return static_cast<std::uint16_t>(at[0] << 8 | at[1]);
}

/// The host name in the server_name extension (RFC 6066 §3); empty where there is none, or it is malformed.
std::string_view server_name(SSL* ssl) noexcept
{
    constexpr std::size_t kPrefix = 5; // length of the list, type, length of the name
    const unsigned char* extension = nullptr;
    std::size_t size = 0;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &extension, &size) != 1 || size <= kPrefix ||
        two_bytes(extension) + 2u != size || extension[2] != TLSEXT_NAMETYPE_host_name) {
        return {};
    }
    const std::size_t length = two_bytes(extension + 3);
    const auto* name = reinterpret_cast<const char*>(extension) + kPrefix;
    return length + kPrefix <= size ? std::string_view(name, length) : std::string_view{};
}

Result<SslSettingsPtr> make_settings()
{
    SslSettingsPtr settings(SSL_CTX_new(TLS_server_method()));
    const bool is_made = settings && SSL_CTX_set_min_proto_version(settings.get(), TLS1_2_VERSION) == 1 &&
                         SSL_CTX_set_cipher_list(settings.get(), kCiphers) == 1 &&
                         SSL_CTX_set1_groups_list(settings.get(), kGroups) == 1;
    if (!is_made) {
        return fail(Origin::local, "TLS cannot be set up: " + std::string(take_tls_error()));
    }
    SSL_CTX_set_options(settings.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(settings.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_tlsext_servername_callback(settings.get(), &on_server_name);
    return settings;
}

} // namespace

TlsAcceptor::TlsAcceptor(const config::Config& config, const Router& router, SslSettingsPtr settings, shm::Regions& regions,
                         shm::ProcessRow& row)
    : config_(config), router_(router), settings_(std::move(settings)), regions_(regions), row_(row),
      device_(config.tls.device, row),
      fallbacks_(config.listens.size(), nullptr)
{
    for (const config::Site& site : config_.sites) {
        takes_early_data_ = takes_early_data_ || (site.tls && site.tls->takes_early_data);
        for (const std::uint32_t listen : site.listens) {
            if (site.tls && fallbacks_[listen] == nullptr) {
                fallbacks_[listen] = &site;
            }
        }
    }
}

Result<std::unique_ptr<TlsAcceptor>> TlsAcceptor::make(const config::Config& config, const Router& router,
                                                       shm::Regions& regions, shm::ProcessRow& row)
{
    auto settings = make_settings();
    if (!settings) {
        return std::unexpected(settings.error());
    }
    std::unique_ptr<TlsAcceptor> acceptor(new TlsAcceptor(config, router, std::move(*settings), regions, row));
    SSL_CTX_set_client_hello_cb(acceptor->settings_.get(), &TlsAcceptor::on_client_hello, acceptor.get());
    SSL_CTX_set_alpn_select_cb(acceptor->settings_.get(), &TlsAcceptor::on_protocols, acceptor.get());
    SSL_CTX_set_tlsext_status_cb(acceptor->settings_.get(), &TlsAcceptor::on_status_request);
    SSL_CTX_set_tlsext_status_arg(acceptor->settings_.get(), acceptor.get());
    if (acceptor->takes_early_data_) {
        SSL_CTX_set_options(acceptor->settings_.get(), SSL_OP_NO_ANTI_REPLAY); // OpenSSL's own sees one worker alone
        SSL_CTX_set_allow_early_data_cb(acceptor->settings_.get(), &TlsAcceptor::on_early_data, acceptor.get());
    }
    use_ticket_keys(*acceptor->settings_, regions.tickets, std::chrono::duration_cast<std::chrono::seconds>(config.tls.tickets));
    return acceptor;
}

std::unique_ptr<Encryption> TlsAcceptor::accept(loop::Loop& loop, Socket& socket, std::uint32_t listen)
{
    SslPtr ssl = make_ssl(*settings_);
    if (!ssl) {
        return nullptr;
    }
    SSL_set_app_data(ssl.get(), reinterpret_cast<void*>(std::uintptr_t{listen}));
    SSL_set_accept_state(ssl.get());
    auto stream = std::make_unique<TlsStream>(loop, socket, std::move(ssl), TlsStream::Peer::client, row_);
    if (takes_early_data_) {
        stream->expect_early_data();
    }
    return stream;
}

const config::Site* TlsAcceptor::find_site(std::uint32_t listen, std::string_view name) const
{
    const config::Site* site = router_.find_site(listen, config::normalise_host(name));
    return site != nullptr && site->tls ? site : fallbacks_[listen];
}

int TlsAcceptor::on_protocols(SSL* ssl, const unsigned char** chosen, unsigned char* length, const unsigned char* offered,
                              unsigned size, void* self)
{
    const config::Listen& listen = static_cast<TlsAcceptor*>(self)->config_.listens[listen_of(ssl)];
    const std::string_view ours = !listen.speaks_h2 ? kH1 : listen.speaks_h1 ? kBoth : kH2;
    unsigned char* out = nullptr;
    const int found = SSL_select_next_proto(&out, length, reinterpret_cast<const unsigned char*>(ours.data()),
                                            static_cast<unsigned>(ours.size()), offered, size);
    *chosen = out;
    // RFC 7301 §3.2. To go on would let a page of another protocol's server pass for one of ours.
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

int TlsAcceptor::on_client_hello(SSL* ssl, int* alert, void* self)
{
    auto& acceptor = *static_cast<TlsAcceptor*>(self);
    const config::Site* site = acceptor.find_site(listen_of(ssl), server_name(ssl));
    const bool has_job = (SSL_get_mode(ssl) & SSL_MODE_ASYNC) != 0;
    if (site != nullptr && !has_job && std::ranges::any_of(site->tls->certificates, &config::Certificate::is_in_device)) {
        SSL_set_mode(ssl, SSL_MODE_ASYNC); // counts when the handshake is entered again
        return SSL_CLIENT_HELLO_RETRY;
    }
    if (site == nullptr || !acceptor.present(ssl, *site->tls)) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    return SSL_CLIENT_HELLO_SUCCESS;
}

/// A session is resumed whose ticket allows early data, and it fits: whether this is the first time that it comes.
int TlsAcceptor::on_early_data(SSL* ssl, void* self)
{
    auto& acceptor = *static_cast<TlsAcceptor*>(self);
    const shm::ArenaHeader& header = acceptor.regions_.header;
    const auto now_s = static_cast<std::uint64_t>(std::time(nullptr));
    if (now_s <= header.created_ns / 1'000'000'000u + shm::kEarlyWindowS) {
        return 0; // what came before there was this table is not known
    }
    std::array<unsigned char, SSL3_RANDOM_SIZE> random{};
    SSL_get_client_random(ssl, random.data(), random.size());
    return shm::admit_hello(acceptor.regions_.early_hellos, XXH3_64bits_withSeed(random.data(), random.size(), header.seed), now_s);
}

/// The client asks whether the certificate that was chosen for it is revoked: it is shown what the caretaker has fetched.
int TlsAcceptor::on_status_request(SSL* ssl, void* self)
{
    static std::vector<std::uint8_t> staple;
    auto& acceptor = *static_cast<TlsAcceptor*>(self);
    const X509* leaf = SSL_get_certificate(ssl);
    if (leaf == nullptr ||
        !shm::read_staple(acceptor.regions_.staples, staple_key(leaf), static_cast<std::uint64_t>(std::time(nullptr)), staple)) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    void* copy = OPENSSL_memdup(staple.data(), staple.size());
    if (copy == nullptr || SSL_set_tlsext_status_ocsp_resp(ssl, copy, static_cast<long>(staple.size())) != 1) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    acceptor.row_.add(shm::Metric::tls_stapled);
    return SSL_TLSEXT_ERR_OK;
}

/// Offers the site's certificates and versions.
bool TlsAcceptor::present(SSL* ssl, const config::SiteTls& site)
{
    bool has_any = false;
    for (const config::Certificate& certificate : site.certificates) {
        const ParsedCertificate* parsed = certificates_.find(certificate);
        const bool is_taken = parsed != nullptr && SSL_use_cert_and_key(ssl, parsed->leaf.get(), parsed->key.get(),
                                                                        parsed->issuers.get(), 1) == 1;
        if (!is_taken) {
            os::log(os::Level::error, "a certificate cannot be used", {{"reason", take_tls_error()}});
        }
        has_any = has_any || is_taken;
    }
    const int least = site.min_version == config::TlsVersion::tls_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;
    return has_any && SSL_set_min_proto_version(ssl, least) == 1 &&
           SSL_set_max_early_data(ssl, site.takes_early_data ? kMostEarlyData : 0) == 1 && demand(ssl, site.client.get());
}

const TlsAcceptor::Authorities& TlsAcceptor::authorities(const config::ClientCertificates& client)
{
    Authorities& made = authorities_[client.fingerprint];
    if (!made.store) {
        made.names.reset(sk_X509_NAME_new_null());
        made.store = parse_authorities(client.ca, made.names.get());
        if (made.store && !client.crl.text.empty()) {
            add_revoked(*made.store, client.crl);
        }
    }
    return made;
}

/// What the client is asked to show. A session is only resumed where the same is asked for.
bool TlsAcceptor::demand(SSL* ssl, const config::ClientCertificates* client)
{
    const std::string fingerprint = client != nullptr ? client->fingerprint : std::string();
    const std::string session_of = "ladle " + fingerprint;
    if (SSL_set_session_id_context(ssl, reinterpret_cast<const unsigned char*>(session_of.data()),
                                   static_cast<unsigned>(session_of.size())) != 1) {
        return false;
    }
    if (client == nullptr) {
        return true;
    }
    const Authorities& believed = authorities(*client);
    if (!believed.store || SSL_set1_verify_cert_store(ssl, believed.store.get()) != 1) {
        return false;
    }
    SSL_set0_CA_list(ssl, SSL_dup_CA_list(believed.names.get()));
    SSL_set_verify(ssl, SSL_VERIFY_PEER | (client->is_required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), nullptr);
    TlsStream::of(ssl).set_demand(fingerprint);
    return true;
}

} // namespace ladle::worker
