// SPDX-License-Identifier: Apache-2.0
//
// `tls` of a site: certificates and keys, and whether they go with the addresses that the site listens on. `tls` of an upstream:
// what its servers must prove.
#include "common/config/builder.h"

#include "common/config/checker.h"
#include "common/config/names.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>

namespace ladle::config {

namespace {

constexpr std::size_t kTicketKeyBytes = 80; // name 16, HMAC key 32, AES key 32, as nginx has them
constexpr std::size_t kMostTicketKeys = 3;
constexpr const char* kSystemAuthorities = "/etc/ssl/certs/ca-certificates.crt";
constexpr const char* kWithoutAuthorities = "install ca-certificates, or say in [upstream.NAME.tls] which ca is believed";

/// The port in "0.0.0.0:443", "[::]:443"; 443 for a Unix socket.
std::uint16_t port_of(const BindAddress& bind)
{
    if (bind.text.starts_with("unix:")) {
        return 443;
    }
    return static_cast<std::uint16_t>(std::stoul(bind.text.substr(bind.text.rfind(':') + 1)));
}

/// The first few of them.
std::string list_of(const std::vector<std::string>& names)
{
    constexpr std::size_t kMost = 5;
    std::string list = names.front();
    for (std::size_t at = 1; at < std::min(names.size(), kMost); ++at) {
        list += ", " + names[at];
    }
    return names.size() > kMost ? list + " …" : list;
}

std::string fingerprint_of_parts(std::initializer_list<std::string_view> parts)
{
    std::string all;
    for (const std::string_view part : parts) {
        all += part;
        all += '\n';
    }
    return std::to_string(XXH3_64bits(all.data(), all.size()));
}

/// The name of a key in a device, in place of the key.
SharedText named_key(const std::string& uri)
{
    auto text = std::make_shared<const std::string>(uri);
    return {*text, text};
}

bool covers(const std::vector<std::string>& names, const std::string& host)
{
    return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
        // RFC 6125 §6.4.3: a wildcard in a certificate stands for one label.
        const std::size_t dot = host.find('.');
        return name == host || (name.starts_with("*.") && dot != std::string::npos && name.substr(1) == host.substr(dot));
    });
}

} // namespace

std::optional<SharedText> Builder::kept_file(const std::string& written, const Node& node, const std::string& path,
                                              std::string hint)
{
    Result<SharedText> text = files_.keep(resolve_path(findings_.file_name(node.place.file), written));
    if (!text) {
        findings_.error(node.place, path, text.error().detail, std::move(hint));
        return std::nullopt;
    }
    return std::move(*text);
}

std::optional<SharedText> Builder::kept_key(const Node& node, const std::string& path)
{
    if (is_secret_source(node.text)) {
        Result<SharedText> text = files_.keep(node.text);
        if (!text) {
            findings_.error(node.place, path, text.error().detail);
        }
        return text ? std::optional(std::move(*text)) : std::nullopt;
    }
    if (!node.text.starts_with("file:")) {
        findings_.error(node.place, path,
                        "expected where the private key is: \"file:/etc/ladle/www.key\", \"env:NAME\" or \"credential:NAME\"",
                        node.text.find('\n') == std::string::npos ? fmt::format("write \"file:{}\"", node.text)
                                                                  : "a key does not stand in the configuration itself");
        return std::nullopt;
    }
    return kept_file(node.text.substr(5), node, path);
}

void Builder::build_key_device()
{
    const Inherited table = Inherited({root_.find("tls")}).sub("device");
    KeyDevice& device = config_->tls.device;
    device.engine = table.text("tls_device", "engine");
    if (const Node* module = table.find("module"); module != nullptr) {
        device.module = resolve_path(findings_.file_name(module->place.file), module->text);
    }
    const Node* pin = table.find("pin");
    if (pin == nullptr) {
        return;
    }
    if (pin->text.starts_with("env:")) {
        device.pin_variable = pin->text.substr(4);
    } else if (pin->text.starts_with("file:")) {
        std::optional<SharedText> text = kept_file(pin->text.substr(5), *pin, "tls.device.pin");
        device.pin = text ? std::move(*text) : SharedText{};
    } else { // without its line, which would show the PIN, and stand in logs
        findings_.error({}, "tls.device.pin", "expected where the PIN is, such as \"file:/etc/ladle/pin\" or \"env:PIN\"",
                        "a PIN does not stand in the configuration itself");
    }
}

void Builder::add_certificate(Site& site, const Node& cert, const Node* key, const std::string& path)
{
    std::optional<SharedText> chain = kept_file(cert.text, cert, path + ".cert");
    std::optional<SharedText> secret = key == nullptr            ? chain
                                       : is_key_in_device(key->text) ? named_key(key->text)
                                                                     : kept_key(*key, path + ".key");
    if (!chain || !secret) {
        return;
    }
    if (checks_.certificate != nullptr) {
        const CertificateReport report = checks_.certificate(chain->text, secret->text);
        if (!report.problem.empty()) {
            findings_.error(cert.place, path + ".cert", report.problem, report.hint);
            return;
        }
        if (!report.warning.empty()) {
            findings_.warning(cert.place, path + ".cert", report.warning, report.warning_hint);
        }
        for (const std::string& host : site.aliases) {
            warn_uncovered(host, report, cert, path);
        }
        warn_uncovered(site.name, report, cert, path);
        if (!key_kinds_.insert(report.key_kind).second) {
            findings_.error(cert.place, path + ".cert", fmt::format("there are two certificates with {} keys", report.key_kind),
                            "a site has one for each kind of key; write a site of its own for other names");
        }
    }
    site.tls->certificates.push_back({std::move(*chain), std::move(*secret)});
}

void Builder::warn_uncovered(const std::string& host, const CertificateReport& report, const Node& cert, const std::string& path)
{
    if (host == "*" || host.starts_with('[') || looks_like_ipv4(host) || covers(report.names, host)) {
        return;
    }
    findings_.warning(cert.place, path + ".cert", fmt::format("the certificate is not for {}", host),
                      report.names.empty() ? std::string("it names no host at all") : "it is for " + list_of(report.names));
}

void Builder::build_client_certificates(SiteTls& tls, const Inherited& table, const std::string& path)
{
    const Node* written = table.find("client");
    if (written == nullptr) {
        return;
    }
    const Inherited own = table.sub("client");
    auto client = std::make_shared<ClientCertificates>();
    client->is_required = own.number("client_certificates", "required") != 0;
    client->header = own.text("client_certificates", "header");
    const bool is_token = std::all_of(client->header.begin(), client->header.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
    });
    if (client->header.empty() || !is_token) {
        findings_.error(own.find("header")->place, path + ".header", "the name of a header is made of letters, digits and \"-\"");
    }
    const Node* ca = own.find("ca");
    if (ca == nullptr) {
        findings_.error(written->place, path, "whose certificates clients must show is not said",
                        "write ca = \"/etc/ladle/clients.pem\"");
        return;
    }
    const auto read = [&](const Node& node, std::string_view begins) -> SharedText {
        std::optional<SharedText> text = kept_file(node.text, node, path);
        if (text && text->text.find(begins) == std::string_view::npos) {
            findings_.error(node.place, path, fmt::format("there is no {} in \"{}\"", begins, node.text));
        }
        return text ? std::move(*text) : SharedText{};
    };
    client->ca = read(*ca, "-----BEGIN CERTIFICATE-----");
    if (const Node* crl = own.find("crl"); crl != nullptr) {
        client->crl = read(*crl, "-----BEGIN X509 CRL-----");
    }
    client->fingerprint = fingerprint_of_parts({client->is_required ? "required" : "", client->ca.text, client->crl.text});
    tls.client = std::move(client);
}

void Builder::build_providers(const Node* written)
{
    const std::vector<const Node*> items = good_items(written);
    for (const Node* item : items) {
        config_->tls.providers.push_back(item->text);
    }
    if (items.empty() || checks_.providers == nullptr) {
        return;
    }
    const ProvidersReport report = checks_.providers(config_->tls.providers);
    if (!report.problem.empty()) {
        const Place place = report.culprit < items.size() ? items[report.culprit]->place : written->place;
        findings_.error(place, "tls.providers", report.problem, report.hint);
    }
}

void Builder::build_server_tls()
{
    const Node* node = root_.find("tls");
    const Inherited table({node});
    build_providers(node == nullptr ? nullptr : node->find("providers"));
    config_->tls.tickets = Duration(static_cast<Duration::rep>(table.number("tls", "tickets")));
    config_->tls.watches = table.number("tls", "watch") != 0;
    const Node* written = node == nullptr ? nullptr : node->find("ticket_keys");
    const std::string path = "tls.ticket_keys";
    for (const Node* item : good_items(written)) {
        std::optional<SharedText> key = kept_key(*item, path);
        if (key && key->text.size() != kTicketKeyBytes) {
            findings_.error(item->place, path,
                            fmt::format("a ticket key has {} bytes, and not {}", kTicketKeyBytes, key->text.size()),
                            "openssl rand 80 > /etc/ladle/tickets.key makes one");
        } else if (key) {
            config_->tls.ticket_keys.push_back(std::move(*key));
        }
    }
    if (config_->tls.ticket_keys.size() > kMostTicketKeys) {
        findings_.error(written->place, path,
                        fmt::format("at most {} keys: one that makes tickets, others to open them", kMostTicketKeys));
    }
}

void Builder::build_tls(Site& site, const Node& node, const std::string& site_path)
{
    const Node* tls = node.find("tls");
    if (tls == nullptr || tls->state != Node::State::good) {
        return;
    }
    const std::string path = join_key(site_path, "tls");
    site.tls.emplace();
    const Inherited table({tls, root_.find("tls")});
    const bool is_modern = table.number("tls", "policy") == static_cast<std::uint64_t>(TlsPolicy::modern);
    site.tls->min_version = is_modern ? TlsVersion::tls_1_3 : static_cast<TlsVersion>(table.number("tls", "min_version"));
    site.tls->staples = table.number("tls", "ocsp") != 0;
    const Inherited own({tls});
    site.tls->redirects = own.number("site_tls", "redirect") != 0;
    site.tls->hsts = Duration(static_cast<Duration::rep>(own.number("site_tls", "hsts")));

    build_client_certificates(*site.tls, own, join_key(path, "client"));
    site.tls->takes_early_data = table.number("tls", "early_data") != 0 && !site.tls->client;

    const std::vector<const Node*> certs = good_items(tls->find("cert"));
    const std::vector<const Node*> keys = good_items(tls->find("key"));
    if (certs.empty() && (tls->find("cert") == nullptr || tls->find("cert")->state == Node::State::good)) {
        findings_.error(tls->place, path, fmt::format("{} has no certificate", path),
                        "write tls = { cert = \"/etc/ladle/www.pem\", key = \"file:/etc/ladle/www.key\" }");
        return;
    }
    if (!keys.empty() && keys.size() != certs.size()) {
        findings_.error(tls->find("key")->place, path + ".key",
                        fmt::format("there are {} certificates and {} keys", certs.size(), keys.size()),
                        "the lists go together, in the same order");
        return;
    }
    key_kinds_.clear();
    for (std::size_t at = 0; at < certs.size(); ++at) {
        add_certificate(site, *certs[at], keys.empty() ? nullptr : keys[at], path);
    }
}

void Builder::match_tls_and_listens(Site& site, const Node& node, const std::string& path)
{
    const BindAddress* https = nullptr;
    for (const std::uint32_t index : site.listens) {
        const Listen& listen = config_->listens[index];
        if (listen.is_tls && https == nullptr && !listen.bind.empty()) {
            https = &listen.bind.front();
        }
    }
    const Node* written = node.find("tls");
    if (https != nullptr && written == nullptr) {
        findings_.error(node.find("listen") != nullptr ? node.find("listen")->place : node.key_place, path,
                        fmt::format("the site listens on {} with TLS, and has no certificate", https->text),
                        "write tls = { cert = \"/etc/ladle/www.pem\", key = \"file:/etc/ladle/www.key\" }");
    } else if (https == nullptr && site.tls && !site.listens.empty()) {
        findings_.error(written->place, join_key(path, "tls"), "the site listens on no address with TLS",
                        "write listen = \"https://0.0.0.0:443\", or leave \"listen\" out");
    } else if (https != nullptr && site.tls) {
        site.tls->https_port = port_of(*https);
    }
}

void Builder::build_own_certificate(UpstreamTls& tls, const Node& table, const std::string& path)
{
    const Node* cert = table.find("cert");
    const Node* key = table.find("key");
    if (cert == nullptr || cert->state != Node::State::good) {
        if (key != nullptr && cert == nullptr) {
            findings_.error(key->place, path + ".key", "there is a key and no certificate for it",
                            "write cert = \"/etc/ladle/proxy.pem\"");
        }
        return;
    }
    std::optional<SharedText> chain = kept_file(cert->text, *cert, path + ".cert");
    std::optional<SharedText> secret = key == nullptr || key->state != Node::State::good ? chain
                                       : is_key_in_device(key->text)                      ? named_key(key->text)
                                                                                          : kept_key(*key, path + ".key");
    if (!chain || !secret) {
        return;
    }
    if (checks_.certificate != nullptr) {
        const CertificateReport report = checks_.certificate(chain->text, secret->text);
        if (!report.problem.empty()) {
            findings_.error(cert->place, path + ".cert", report.problem, report.hint);
        } else if (!report.warning.empty()) {
            findings_.warning(cert->place, path + ".cert", report.warning);
        }
    }
    tls.certificate = Certificate{std::move(*chain), std::move(*secret)};
}

void Builder::build_upstream_tls(Upstream& upstream, const Node* table, const Node& node, const std::string& path)
{
    const bool is_written = table != nullptr && table->state == Node::State::good;
    const Inherited own({is_written ? table : nullptr});
    const auto https = std::count_if(upstream.servers.begin(), upstream.servers.end(),
                                     [](const UpstreamServer& server) { return server.is_https; });
    const bool is_wanted = is_written ? own.number("upstream_tls", "on") != 0 : https > 0;
    if (https > 0 && (!is_wanted || (!is_written && https < std::ssize(upstream.servers)))) {
        findings_.error(node.place, path, "some servers are spoken to over TLS and some are not",
                        "write https:// before all of them, or before none");
        return;
    }
    if (!is_wanted) {
        return;
    }
    const std::string tls_path = is_written ? join_key(path, "tls") : path;
    UpstreamTls& tls = upstream.tls.emplace();
    tls.sni = own.text("upstream_tls", "sni");
    tls.verifies = own.number("upstream_tls", "insecure") == 0;
    if (!tls.verifies) {
        findings_.warning(own.find("insecure")->place, tls_path, "nobody looks who the servers are: insecure = true",
                          "for servers with a certificate of their own making write ca = \"/etc/ladle/their-ca.pem\"");
    } else {
        const Node* ca = own.find("ca");
        std::optional<SharedText> text = ca != nullptr ? kept_file(ca->text, *ca, tls_path + ".ca")
                                                       : kept_file(kSystemAuthorities, is_written ? *table : node, tls_path,
                                                                   kWithoutAuthorities);
        tls.ca = text ? std::move(*text) : SharedText{};
        if (text && tls.ca.text.find("-----BEGIN") == std::string_view::npos) {
            findings_.error(ca != nullptr ? ca->place : node.place, tls_path, "the file of CAs holds no certificate in PEM form");
        }
    }
    if (is_written) {
        build_own_certificate(tls, *table, tls_path);
    }
    tls.fingerprint = fingerprint_of_parts(
        {tls.verifies ? "verified" : "", tls.sni, tls.ca.text, tls.certificate ? tls.certificate->chain.text : std::string_view()});
}

} // namespace ladle::config
