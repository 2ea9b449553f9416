// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/config/loading.h"
#include "worker/tls/acceptor.h"
#include "worker/tls/handshake_gate.h"

#include <doctest/doctest.h>

using namespace ladle;
using namespace ladle::worker;

namespace {

const std::string kTlsSites = R"~(
[upstream.app]
servers = ["127.0.0.1:1"]
[site."plain.test"]
upstream = "app"
listen = "http://127.0.0.1:80"
[site."first.test"]
aliases = ["alias.test"]
upstream = "app"
listen = ["https://127.0.0.1:443", "http://127.0.0.1:80"]
tls = { cert = "c.pem", key = "file:c.key" }
[site."*.example.com"]
upstream = "app"
listen = "https://127.0.0.1:443"
tls = { cert = "c.pem", key = "file:c.key" }
[site."*.deep.example.com"]
upstream = "app"
listen = "https://127.0.0.1:443"
tls = { cert = "c.pem", key = "file:c.key" }
[site."www.example.com"]
upstream = "app"
listen = "https://127.0.0.1:443"
tls = { cert = "c.pem", key = "file:c.key" }
[site."elsewhere.test"]
upstream = "app"
listen = "https://127.0.0.1:8443"
tls = { cert = "c.pem", key = "file:c.key" }
)~";

struct AcceptorBench {
    std::shared_ptr<const config::Config> config = test::load_good(kTlsSites, {{"c.pem", "a certificate"}, {"c.key", "a key"}});
    Router router{*config};
    std::unique_ptr<shm::Regions> regions = std::make_unique<shm::Regions>();
    std::unique_ptr<TlsAcceptor> acceptor = std::move(*TlsAcceptor::make(*config, router, *regions, regions->rows[0]));

    std::string site(std::string_view name, const char* address = "127.0.0.1:443") const
    {
        const config::Site* found = acceptor->find_site(router.listen_index(address), name);
        return found == nullptr ? "none" : found->name;
    }
};

} // namespace

TEST_CASE("tls: the site is found by the name that the client asks for")
{
    const AcceptorBench bench;
    CHECK(bench.site("www.example.com") == "www.example.com");
    CHECK(bench.site("WWW.Example.COM") == "www.example.com");
    CHECK(bench.site("www.example.com.") == "www.example.com");
    CHECK(bench.site("a.example.com") == "*.example.com");
    CHECK(bench.site("a.b.example.com") == "*.example.com");
    CHECK(bench.site("a.deep.example.com") == "*.deep.example.com");
    CHECK(bench.site("alias.test") == "first.test");
}

TEST_CASE("tls: whoever asks for another name, or for none, gets the first site with TLS on that address")
{
    const AcceptorBench bench;
    for (const char* name : {"", "nobody.test", "example.com", "plain.test", "elsewhere.test", "\xff\xfe", "*", "x.com"}) {
        CHECK(bench.site(name) == "first.test");
    }
    CHECK(bench.site("www.example.com", "127.0.0.1:8443") == "elsewhere.test");
}

TEST_CASE("tls: a site without TLS on a plain address has nothing to present")
{
    CHECK(AcceptorBench().site("plain.test", "127.0.0.1:80") == "first.test"); // never asked for there: nobody shakes hands
}

TEST_CASE("tls: a certificate that cannot be parsed is none, and is not kept")
{
    const AcceptorBench bench;
    CertificateStore store;
    CHECK(store.find(bench.config->sites.at(1).tls->certificates.at(0)) == nullptr);
    CHECK(store.size() == 0);
}

TEST_CASE("tls: so many steps of handshakes are let through in a turn, and again in the next")
{
    HandshakeGate gate;
    for (const loop::Nanos turn : {loop::Nanos{5}, loop::Nanos{6}}) {
        for (unsigned step = 0; step < HandshakeGate::kMostInTurn; ++step) {
            CHECK(gate.try_pass(turn));
        }
        CHECK_FALSE(gate.try_pass(turn));
    }
}
