// SPDX-License-Identifier: Apache-2.0
#include "common/config/bundle.h"
#include "tests/unit/config/loading.h"

#include <doctest/doctest.h>

using namespace ladle;
using test::check_says;
using test::load_good;

namespace {

const std::map<std::string, std::string> kFiles = {
    {"c.pem", "chain"}, {"c.key", "key"}, {"ca.pem", "-----BEGIN CERTIFICATE-----"}};

config::CertificateReport find_fault(std::string_view, std::string_view)
{
    return {"no good", "make another", "", "", "", {}};
}

} // namespace

TEST_CASE("config: a site with tls listens on 443, and redirects from 80")
{
    const auto config = load_good(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
tls = { cert = "c.pem", key = "file:c.key", hsts = "365d" }
[site."b.test"]
upstream = "http://127.0.0.1:3000"
)~",
                                  kFiles);
    const config::Site& site = config->sites.at(0);
    REQUIRE(site.tls);
    CHECK(site.tls->redirects);
    CHECK(site.tls->https_port == 443);
    CHECK(site.tls->hsts == std::chrono::hours(365 * 24));
    CHECK(site.tls->certificates.at(0).key.text == "key");
    std::vector<std::string> names;
    for (const std::uint32_t listen : site.listens) {
        names.push_back(config->listens[listen].name);
        CHECK(config->listens[listen].is_tls == names.back().starts_with("https://"));
    }
    CHECK(names == std::vector<std::string>{"https://0.0.0.0:443", "https://[::]:443", "http://0.0.0.0:80", "http://[::]:80"});
    CHECK(config->sites.at(1).listens.size() == 2);
}

TEST_CASE("config: a site's own policy and version come before [tls]")
{
    const std::string site = "[site.\"a.test\"]\nupstream = \"http://127.0.0.1:1\"\ntls = { cert = \"c.pem\"";
    const auto version = [&](const std::string& before, const std::string& own) {
        return load_good(before + site + own + " }\n", kFiles)->sites.at(0).tls->min_version;
    };
    CHECK(version("", "") == config::TlsVersion::tls_1_2);
    CHECK(version("[tls]\npolicy = \"modern\"\n", "") == config::TlsVersion::tls_1_3);
    CHECK(version("[tls]\nmin_version = \"1.3\"\n", "") == config::TlsVersion::tls_1_3);
    CHECK(version("[tls]\npolicy = \"modern\"\n", ", policy = \"intermediate\"") == config::TlsVersion::tls_1_2);
    CHECK(version("", ", min_version = \"1.3\"") == config::TlsVersion::tls_1_3);
}

TEST_CASE("config: a site's own ocsp comes before [tls], and is on")
{
    const std::string site = "[site.\"a.test\"]\nupstream = \"http://127.0.0.1:1\"\ntls = { cert = \"c.pem\"";
    const auto staples = [&](const std::string& before, const std::string& own) {
        return load_good(before + site + own + " }\n", kFiles)->sites.at(0).tls->staples;
    };
    CHECK(staples("", ""));
    CHECK_FALSE(staples("[tls]\nocsp = false\n", ""));
    CHECK(staples("[tls]\nocsp = false\n", ", ocsp = true"));
    CHECK_FALSE(staples("", ", ocsp = false"));
}

TEST_CASE("config: early data is off, and never on where clients show certificates")
{
    const std::string site = "[site.\"a.test\"]\nupstream = \"http://127.0.0.1:1\"\ntls = { cert = \"c.pem\"";
    const auto takes = [&](const std::string& before, const std::string& own) {
        auto files = kFiles;
        files["ca.pem"] = "-----BEGIN CERTIFICATE-----";
        return load_good(before + site + own + " }\n", files)->sites.at(0).tls->takes_early_data;
    };
    CHECK_FALSE(takes("", ""));
    CHECK(takes("[tls]\nearly_data = true\n", ""));
    CHECK(takes("", ", early_data = true"));
    CHECK_FALSE(takes("[tls]\nearly_data = true\n", ", early_data = false"));
    CHECK_FALSE(takes("[tls]\nearly_data = true\n", ", client = \"ca.pem\""));
}

TEST_CASE("config: ticket keys keep their order, and have their size")
{
    const std::map<std::string, std::string> files = {
        {"a.key", std::string(80, 'a')}, {"b.key", std::string(80, 'b')}, {"short.key", std::string(48, 'c')}};
    const std::string site = "[site.\"a.test\"]\nupstream = \"http://127.0.0.1:1\"\n";
    CHECK(load_good(site, files)->tls.ticket_keys.empty());
    const auto config = load_good("[tls]\nticket_keys = [\"file:b.key\", \"file:a.key\"]\nwatch = true\n" + site, files);
    CHECK(config->tls.ticket_keys.at(0).text.front() == 'b');
    CHECK(config->tls.ticket_keys.at(1).text.front() == 'a');
    CHECK(config->tls.watches);
    const std::string said = test::complaints("[tls]\nticket_keys = \"file:short.key\"\n" + site, files);
    CHECK(said.starts_with("x.toml:2:15: error: a ticket key has 80 bytes, and not 48\n"));
    CHECK(said.find("openssl rand 80 > /etc/ladle/tickets.key makes one") != std::string::npos);
}

TEST_CASE("config: an address speaks TLS or it does not")
{
    check_says(R"~(
[listen.web]
bind = "https://0.0.0.0:8443"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
listen = ["http://127.0.0.1:80", "web"]
[site."b.test"]
upstream = "http://127.0.0.1:3000"
listen = "https://127.0.0.1:80"
)~",
               R"~(
x.toml:2:8: error: [listen.web] does not speak TLS, got "https://0.0.0.0:8443"
    2 | bind = "https://0.0.0.0:8443"
      |        ^^^^^^^^^^^^^^^^^^^^^^ write tls = true in [listen.web]
x.toml:8:10: error: the address 127.0.0.1:80 is used both with TLS and without
    8 | listen = "https://127.0.0.1:80"
      |          ^^^^^^^^^^^^^^^^^^^^^^ as http://127.0.0.1:80 at x.toml:5:11
)~");
    check_says(R"~(
[listen.web]
bind = "0.0.0.0:8443"
tls = true
[site."a.test"]
upstream = "http://127.0.0.1:3000"
listen = "web"
)~",
               R"~(
x.toml:6:10: error: the site listens on 0.0.0.0:8443 with TLS, and has no certificate
    6 | listen = "web"
      |          ^^^^^ write tls = { cert = "/etc/ladle/www.pem", key = "file:/etc/ladle/www.key" }
)~");
}

TEST_CASE("config: what is wrong with a certificate is said where it is named")
{
    config::BundleFiles files(config::Recording{{{"x.toml", "[site.\"a.test\"]\nupstream = \"http://127.0.0.1:1\"\n"
                                                            "tls = { cert = \"c.pem\", key = \"file:c.key\" }\n"},
                                                 {"c.pem", "chain"},
                                                 {"c.key", "key"}},
                                                {},
                                                {}});
    CHECK(config::to_text(config::load(files, "x.toml", 1, {&find_fault}).diagnostics) ==
          "x.toml:3:16: error: no good\n"
          "    3 | tls = { cert = \"c.pem\", key = \"file:c.key\" }\n"
          "      |                ^^^^^^^ make another\n");
    CHECK(config::load(files, "x.toml").config != nullptr); // a worker does not ask
}

TEST_CASE("config: what is wrong with a provider is said where it is named")
{
    const auto load_providers = [](const std::vector<std::string>& names) -> config::ProvidersReport {
        if (names.size() == 3) {
            return {3, "not all at once", "fewer"};
        }
        return names.back() == "default" ? config::ProvidersReport{} : config::ProvidersReport{1, "no such module", "another"};
    };
    const auto said = [&](const std::string& list) {
        config::BundleFiles files(config::Recording{{{"x.toml", "[tls]\nproviders = " + list + "\n"}}, {}, {}});
        return config::to_text(config::load(files, "x.toml", 1, {nullptr, load_providers}).diagnostics);
    };
    CHECK(said("[\"legacy\", \"default\"]").find("error") == std::string::npos);
    CHECK(said("[\"default\", \"nonesuch\"]") == "x.toml:2:25: error: no such module\n"
                                               "    2 | providers = [\"default\", \"nonesuch\"]\n"
                                               "      |                         ^^^^^^^^^^ another\n");
    CHECK(said("[\"a\", \"b\", \"c\"]").find("x.toml:2:13: error: ") == 0);
    const auto unasked = load_good("[tls]\nproviders = [\"legacy\"]\n"); // as a worker does
    CHECK(unasked->tls.providers == std::vector<std::string>{"legacy"});
}

TEST_CASE("config: TLS to servers")
{
    const auto tls = [](const std::string& text) {
        return load_good("[site.\"a.test\"]\nupstream = \"app\"\n[upstream.app]\n" + text, kFiles)->upstreams.at(0).tls;
    };
    CHECK_FALSE(tls("servers = [\"10.0.0.1:80\"]\n"));
    CHECK_FALSE(tls("servers = [\"10.0.0.1:80\"]\ntls = false\n"));
    const auto own = tls("servers = [\"10.0.0.1:443\"]\n"
                         "tls = { ca = \"ca.pem\", sni = \"app.test\", cert = \"c.pem\", key = \"file:c.key\" }\n");
    REQUIRE(own);
    CHECK(own->verifies);
    CHECK(own->sni == "app.test");
    CHECK(own->certificate->key.text == "key");
    CHECK(own->fingerprint != tls("servers = [\"10.0.0.1:443\"]\ntls = { ca = \"ca.pem\" }\n")->fingerprint);
    CHECK(tls("servers = [\"https://10.0.0.1\"]\ntls = { ca = \"ca.pem\" }\n")->verifies);
    CHECK(load_good("[site.\"a.test\"]\nupstream = \"https://app.test\"\n", {{"/etc/ssl/certs/ca-certificates.crt", "-----BEGIN"}})
              ->upstreams.at(0)
              .servers.at(0)
              .text == "app.test:443");
    check_says(R"~(
[site."a.test"]
upstream = "app"
[upstream.app]
servers = ["https://10.0.0.1", "b:80"]
)~",
               R"~(
x.toml:4:11: error: some servers are spoken to over TLS and some are not
    4 | servers = ["https://10.0.0.1", "b:80"]
      |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^ write https:// before all of them, or before none
)~");
}

TEST_CASE("bundle: kept files lie in the mapping, for as long as somebody has them")
{
    config::Recording recording;
    auto owner = std::make_shared<const std::string>("a key");
    recording.kept["k"] = {*owner, owner};
    const Result<os::Fd> bundle = config::make_bundle(recording, "x", 1);
    REQUIRE(bundle.has_value());
    config::SharedText text;
    {
        auto opened = config::open_bundle(bundle->get());
        REQUIRE(opened.has_value());
        text = *opened->files.keep("k");
        CHECK(opened->files.keep("none").has_value() == false);
    }
    CHECK(text.text == "a key");
}

TEST_CASE("config: keys in a device, and where its PIN is")
{
    const auto config = load_good(R"~(
[tls.device]
module = "/usr/lib/module.so"
pin = "file:pin"
[site."a.test"]
upstream = "http://127.0.0.1:1"
tls = { cert = ["c.pem", "c.pem"], key = ["pkcs11:token=t;object=o", "file:c.key"] }
)~",
                                  {{"c.pem", "chain"}, {"c.key", "key"}, {"pin", "1234\n"}});
    CHECK(config->tls.device.engine == "pkcs11");
    CHECK(config->tls.device.module == "/usr/lib/module.so");
    CHECK(config->tls.device.pin.text == "1234\n");
    const config::SiteTls& tls = *config->sites.at(0).tls;
    CHECK(tls.certificates.at(0).is_in_device());
    CHECK(tls.certificates.at(0).key.text == "pkcs11:token=t;object=o");
    CHECK_FALSE(tls.certificates.at(1).is_in_device());
    CHECK(load_good("[tls.device]\npin = \"env:THE_PIN\"\n")->tls.device.pin_variable == "THE_PIN");
    const std::string refused = test::complaints("[tls.device]\npin = \"98765\"\n");
    CHECK(refused.find("expected where the PIN is") != std::string::npos);
    CHECK(refused.find("98765") == std::string::npos);
    const std::string upstream = "[upstream.u]\nservers = [\"https://127.0.0.1:1\"]\n"
                                 "tls = { ca = \"ca.pem\", cert = \"c.pem\", key = \"pkcs11:object=o\" }\n";
    CHECK(load_good(upstream, kFiles)->upstreams.at(0).tls->certificate->is_in_device());
}
