// SPDX-License-Identifier: Apache-2.0
#include "common/base/sanitized.h"
#include "tests/unit/main.h"
#include "worker/tls/memory.h"

#include <doctest/doctest.h>
#include <openssl/pem.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

using namespace ladle;
using namespace ladle::worker;

namespace {

constexpr loop::Nanos kTlsSecond = 1'000'000'000;

/// A certificate of our own making, good for nothing but this.
void use_certificate(SSL_CTX& settings)
{
    const KeyPtr key(EVP_EC_gen("P-256"));
    const CertificatePtr certificate(X509_new());
    X509_set_version(certificate.get(), 2);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
    X509_set_pubkey(certificate.get(), key.get());
    X509_sign(certificate.get(), key.get(), EVP_sha256());
    REQUIRE(SSL_CTX_use_certificate(&settings, certificate.get()) == 1);
    REQUIRE(SSL_CTX_use_PrivateKey(&settings, key.get()) == 1);
}

/// Two ends of a connection that speak through memory.
struct Pair {
    explicit Pair(int version)
    {
        use_certificate(*server_settings);
        SSL_CTX_set_mode(server_settings.get(), SSL_MODE_RELEASE_BUFFERS);
        SSL_CTX_set_max_proto_version(server_settings.get(), version);
        server = std::make_unique<RestingSsl>(make_ssl(*server_settings));
        client.reset(SSL_new(client_settings.get()));
        BIO* to_server = nullptr;
        BIO* to_client = nullptr;
        REQUIRE(BIO_new_bio_pair(&to_server, 0, &to_client, 0) == 1);
        SSL_set_bio(server->get(), to_server, to_server);
        SSL_set_bio(client.get(), to_client, to_client);
        SSL_set_accept_state(server->get());
        SSL_set_connect_state(client.get());
        for (int round = 0; round < 8; ++round) {
            SSL_do_handshake(client.get());
            SSL_do_handshake(server->get());
        }
        REQUIRE(SSL_is_init_finished(server->get()) == 1);
    }

    std::string ask(const std::string& text)
    {
        char buffer[256];
        std::size_t n = 0;
        REQUIRE(SSL_write_ex(client.get(), text.data(), text.size(), &n) == 1);
        REQUIRE(SSL_read_ex(server->get(), buffer, sizeof buffer, &n) == 1);
        REQUIRE(SSL_write_ex(server->get(), buffer, n, &n) == 1);
        REQUIRE(SSL_read_ex(client.get(), buffer, sizeof buffer, &n) == 1);
        return {buffer, n};
    }

    SslSettingsPtr server_settings{SSL_CTX_new(TLS_server_method())};
    SslSettingsPtr client_settings{SSL_CTX_new(TLS_client_method())};
    std::unique_ptr<RestingSsl> server;
    SslPtr client;
};

} // namespace

TEST_CASE("tls memory: one that nobody uses rests, and wakes as it was" * doctest::skip(kIsAddressSanitized))
{
    REQUIRE(test::has_slots_for_tls);
    for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
        Pair pair(version);
        CHECK(pair.ask("before") == "before");
        SSL* const place = pair.server->get();
        pair.server->may_rest();
        for (loop::Nanos now = 10 * kTlsSecond; now < 40 * kTlsSecond; now += 10 * kTlsSecond) {
            Resting::rest_unused(now); // it was used
            CHECK_FALSE(pair.server->is_resting());
            Resting::rest_unused(now + kTlsSecond / 2); // too soon
            CHECK_FALSE(pair.server->is_resting());
            Resting::rest_unused(now + kTlsSecond);
            CHECK(pair.server->is_resting());
            CHECK(pair.ask("after " + std::to_string(now)) == "after " + std::to_string(now));
            CHECK_FALSE(pair.server->is_resting());
            CHECK(pair.server->get() == place);
        }
    }
}

TEST_CASE("tls memory: one whose handshake is under way does not rest" * doctest::skip(kIsAddressSanitized))
{
    const SslSettingsPtr settings(SSL_CTX_new(TLS_server_method()));
    const RestingSsl ssl(make_ssl(*settings));
    Resting::rest_unused(100 * kTlsSecond);
    Resting::rest_unused(200 * kTlsSecond);
    CHECK_FALSE(ssl.is_resting());
}

TEST_CASE("tls memory: some rest at a time, all in the end, and they end while they rest" * doctest::skip(kIsAddressSanitized))
{
    const SslSettingsPtr settings(SSL_CTX_new(TLS_server_method()));
    std::vector<std::unique_ptr<RestingSsl>> many;
    for (int number = 0; number < 1500; ++number) {
        many.push_back(std::make_unique<RestingSsl>(make_ssl(*settings)));
        many.back()->may_rest();
    }
    const auto resting = [&many] {
        return std::count_if(many.begin(), many.end(), [](const auto& ssl) { return ssl->is_resting(); });
    };
    loop::Nanos now = 100 * kTlsSecond;
    for (int tick = 0; tick < 3; ++tick, now += kTlsSecond / 10) {
        Resting::rest_unused(now);
    }
    now += kTlsSecond;
    Resting::rest_unused(now);
    CHECK(resting() > 0);
    CHECK(resting() < 1000);
    for (int tick = 0; tick < 3; ++tick) {
        Resting::rest_unused(now);
    }
    CHECK(resting() == 1500);
    many.erase(many.begin() + 100, many.end());
    CHECK(resting() == 100);
    const RestingSsl next(make_ssl(*settings));
    CHECK(resting() == 100);
}
