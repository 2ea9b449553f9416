// SPDX-License-Identifier: Apache-2.0
//
// [listen.NAME] and [site."NAME"]: who is served where. Every address belongs to one Listen and every host name to one site.
#include "common/config/builder.h"

#include "common/config/checker.h"
#include "common/config/names.h"
#include "common/config/values.h"

#include <fmt/format.h>

#include <algorithm>

namespace ladle::config {

namespace {

constexpr std::array<std::string_view, 2> kDefaultAddresses{"0.0.0.0:80", "[::]:80"};
constexpr std::array<std::string_view, 2> kDefaultTlsAddresses{"https://0.0.0.0:443", "https://[::]:443"};

std::string_view scheme_of(bool is_tls)
{
    return is_tls ? "https" : "http";
}

} // namespace

void Builder::build_listens()
{
    const Node* named = root_.find("listen");
    if (named == nullptr || named->state != Node::State::good) {
        return;
    }
    for (const Node& node : named->children) {
        const std::string path = join_key("listen", node.key);
        const auto index = static_cast<std::uint32_t>(config_->listens.size());
        listens_[node.key] = {index, node.key_place, path, false};
        Listen& listen = config_->listens.emplace_back();
        listen.name = node.key;
        if (node.state != Node::State::good) {
            continue;
        }
        build_protocols(listen, node, path);
        build_proxy_protocol(listen, node, path);
        const Inherited table({&node});
        listen.is_tls = table.number("listen", "tls") != 0;
        const Node* bind = node.find("bind");
        if (bind == nullptr || (bind->state == Node::State::good && bind->children.empty())) {
            findings_.error(bind == nullptr ? node.key_place : bind->place, path, fmt::format("[{}] has no address", path),
                            "write bind = [\"0.0.0.0:80\", \"[::]:80\"]");
            continue;
        }
        for (const Node* item : good_items(bind)) {
            Parsed<BindAddress> address = parse_bind(item->text);
            if (!address) {
                findings_.error(item->place, path + ".bind", address.error().message, address.error().hint);
                continue;
            }
            const auto [first, is_new] = addresses_.emplace(address->text, Known{index, item->place, path, false});
            if (!is_new) {
                findings_.error(item->place, path + ".bind", fmt::format("the address {} is bound twice", address->text),
                                fmt::format("first in [{}] at {}", first->second.path, findings_.where(first->second.place)));
                continue;
            }
            if (address->is_https && !listen.is_tls) {
                findings_.error(item->place, path + ".bind", fmt::format("[{}] does not speak TLS, got \"{}\"", path, item->text),
                                fmt::format("write tls = true in [{}]", path));
                continue;
            }
            listen.bind.push_back(std::move(*address));
        }
    }
}

void Builder::build_protocols(Listen& listen, const Node& node, const std::string& path)
{
    const Node* protocols = node.find("protocols");
    if (protocols == nullptr || protocols->state != Node::State::good) {
        return;
    }
    listen.speaks_h1 = listen.speaks_h2 = false;
    for (const Node* item : good_items(protocols)) {
        if (item->text != "h1" && item->text != "h2") {
            findings_.error(item->place, path + ".protocols", fmt::format("expected \"h2\" or \"h1\", got \"{}\"", item->text));
        }
        listen.speaks_h1 = listen.speaks_h1 || item->text == "h1";
        listen.speaks_h2 = listen.speaks_h2 || item->text == "h2";
    }
    if (protocols->children.empty()) {
        findings_.error(protocols->place, path + ".protocols", "expected at least one protocol",
                        "write protocols = [\"h2\", \"h1\"]");
    }
}

void Builder::build_proxy_protocol(Listen& listen, const Node& node, const std::string& path)
{
    const Node* table = node.find("proxy_protocol");
    if (table == nullptr || table->state != Node::State::good) {
        return;
    }
    const std::string from_path = path + ".proxy_protocol.from";
    for (const Node* item : good_items(table->find("from"))) {
        if (item->text == "unix:") {
            listen.proxy_from_unix = true;
        } else if (Parsed<Cidr> range = parse_cidr(item->text)) {
            listen.proxy_from.push_back(*range);
        } else {
            findings_.error(item->place, from_path, range.error().message, range.error().hint);
        }
    }
    const Node* from = table->find("from");
    if (from == nullptr || (from->state == Node::State::good && from->children.empty())) {
        findings_.error(table->place, from_path, "whose PROXY headers are believed is not said",
                        "write proxy_protocol = { from = [\"10.0.0.0/8\"] }");
    }
}

std::optional<std::uint32_t> Builder::listen_for(BindAddress address, const Node& node, const std::string& path, bool is_default)
{
    const auto known = addresses_.find(address.text);
    if (known == addresses_.end()) {
        const auto index = static_cast<std::uint32_t>(config_->listens.size());
        Listen& listen = config_->listens.emplace_back();
        listen.is_tls = address.is_https;
        listen.name = fmt::format("{}://{}", scheme_of(listen.is_tls), address.text);
        addresses_[address.text] = {index, node.place, path, true};
        listen.bind.push_back(std::move(address));
        return index;
    }
    const Listen& owner = config_->listens[known->second.index];
    if (!listens_.contains(owner.name)) {
        if (owner.is_tls != address.is_https) {
            findings_.error(node.place, path, fmt::format("the address {} is used both with TLS and without", address.text),
                            fmt::format("as {} at {}", owner.name, findings_.where(known->second.place)));
            return std::nullopt;
        }
        return known->second.index;
    }
    if (is_default) {
        findings_.error(
            node.key_place, path,
            fmt::format("without \"listen\" this site would use {}, which [{}] binds", address.text, known->second.path),
            fmt::format("write listen = \"{}\"; [{}] is at {}", owner.name, known->second.path,
                        findings_.where(known->second.place)));
    } else {
        findings_.error(node.place, path, fmt::format("the address {} is bound by [{}]", address.text, known->second.path),
                        fmt::format("write \"{}\"; it is bound at {}", owner.name, findings_.where(known->second.place)));
    }
    return std::nullopt;
}

std::optional<std::uint32_t> Builder::find_listen(const Node& item, const std::string& path)
{
    if (const auto named = listens_.find(item.text); named != listens_.end()) {
        named->second.is_used = true;
        return named->second.index;
    }
    if (item.text.find("://") != std::string::npos) {
        Parsed<BindAddress> address = parse_bind(item.text);
        if (!address) {
            findings_.error(item.place, path, address.error().message, address.error().hint);
            return std::nullopt;
        }
        return listen_for(std::move(*address), item, path, false);
    }
    if (item.text.find(':') != std::string::npos) {
        findings_.error(item.place, path, fmt::format("expected a URL or the name of a [listen.NAME], got \"{}\"", item.text),
                        fmt::format("write \"http://{}\"", item.text));
        return std::nullopt;
    }
    std::vector<std::string_view> names;
    for (const auto& [name, known] : listens_) {
        names.push_back(name);
    }
    const std::string_view near = nearest(item.text, names);
    findings_.error(
        item.place, path, fmt::format("there is no [{}]", join_key("listen", item.text)),
        near.empty()
            ? fmt::format("add [{}] with bind = [\"0.0.0.0:80\"], or write a URL such as \"http://127.0.0.1:8080\"",
                          join_key("listen", item.text))
            : fmt::format("did you mean \"{}\", defined at {}?", near, findings_.where(listens_.at(std::string(near)).place)));
    return std::nullopt;
}

std::vector<std::uint32_t> Builder::site_listens(const Node& site, const std::string& path)
{
    std::vector<std::uint32_t> out;
    const auto add = [&](std::optional<std::uint32_t> index) {
        if (index && std::find(out.begin(), out.end(), *index) == out.end()) {
            out.push_back(*index);
        }
    };
    const Node* listen = site.find("listen");
    if (listen == nullptr) {
        if (site.find("tls") != nullptr) {
            for (const std::string_view text : kDefaultTlsAddresses) {
                add(listen_for(*parse_bind(text), site, path, true));
            }
        }
        for (const std::string_view text : kDefaultAddresses) {
            add(listen_for(*parse_bind(text), site, path, true));
        }
        return out;
    }
    if (listen->state == Node::State::good && listen->children.empty()) {
        findings_.error(listen->place, path + ".listen", "expected at least one address to listen on");
    }
    for (const Node* item : good_items(listen)) {
        add(find_listen(*item, path + ".listen"));
    }
    return out;
}

std::optional<std::string> Builder::site_name(const std::string& written, const Place& place, const std::string& path)
{
    const std::string name = normalise_host(written);
    const auto refuse = [&](std::string message, std::string hint) -> std::optional<std::string> {
        findings_.error(place, path, std::move(message), std::move(hint));
        return std::nullopt;
    };
    if (name == "*" || is_host_name(name) || (name.starts_with("*.") && is_host_name(name.substr(2)))) {
        return name;
    }
    if (name.starts_with('[') && name.ends_with(']')) {
        if (const Parsed<BindAddress> literal = parse_bind(name + ":1")) {
            return literal->text.substr(0, literal->text.size() - 2);
        }
    }
    if (const std::size_t scheme = name.find("://"); scheme != std::string::npos) {
        return refuse(fmt::format("the name of a site is a host name, got \"{}\"", written),
                      fmt::format("write \"{}\" without \"{}\"", name.substr(scheme + 3), name.substr(0, scheme + 3)));
    }
    if (const std::size_t colon = name.rfind(':');
        colon != std::string::npos && name.find(':') == colon && is_host_name(name.substr(0, colon))) {
        return refuse(fmt::format("the name of a site has no port, got \"{}\"", written),
                      fmt::format("write \"{}\", and listen = \"http://0.0.0.0:{}\" in the site", name.substr(0, colon),
                                  name.substr(colon + 1)));
    }
    if (name.find(':') != std::string::npos && parse_bind("[" + name + "]:1")) {
        return refuse(fmt::format("an IPv6 address stands in brackets, got \"{}\"", written), fmt::format("write \"[{}]\"", name));
    }
    if (name.find('/') != std::string::npos) {
        return refuse(fmt::format("the name of a site has no path, got \"{}\"", written),
                      "paths are for routes: [[site.\"NAME\".route]] path = \"/x/*\"");
    }
    if (std::any_of(name.begin(), name.end(), [](char c) { return (static_cast<unsigned char>(c) & 0x80) != 0; })) {
        return refuse(fmt::format("the name of a site is in ASCII, got \"{}\"", written),
                      "write its \"xn--\" form, which clients send");
    }
    if (name.find('*') != std::string::npos) {
        return refuse(fmt::format("\"*\" stands for whole labels at the front of a name, got \"{}\"", written),
                      "write \"*.example.com\", or \"*\" for every host");
    }
    return refuse(fmt::format("expected a host name, got \"{}\"", written), {});
}

bool Builder::claim_host(const std::string& host, const Place& place, const std::string& path)
{
    const auto [first, is_new] = hosts_.emplace(host, Known{0, place, path, true});
    if (!is_new) {
        findings_.error(place, path, fmt::format("the host name \"{}\" is used twice", host),
                        fmt::format("first in [{}] at {}", first->second.path, findings_.where(first->second.place)));
    }
    return is_new;
}

void Builder::build_sites()
{
    config_->headers = header_edits(nullptr, nullptr, {}, {});
    const Node* named = root_.find("site");
    if (named == nullptr || named->state != Node::State::good) {
        return;
    }
    for (const Node& node : named->children) {
        if (node.state == Node::State::good && !findings_.is_full()) {
            build_site(node, join_key("site", node.key));
        }
    }
}

void Builder::build_site(const Node& node, const std::string& path)
{
    Site site;
    site.at = place_of(node.key_place);
    if (const std::optional<std::string> name = site_name(node.key, node.key_place, path)) {
        site.name = *name;
        claim_host(*name, node.key_place, path);
    }
    for (const Node* item : good_items(node.find("aliases"))) {
        const std::optional<std::string> alias = site_name(item->text, item->place, path + ".aliases");
        if (alias && claim_host(*alias, item->place, path)) {
            site.aliases.push_back(*alias);
        }
    }
    build_tls(site, node, path);
    site.listens = site_listens(node, path);
    match_tls_and_listens(site, node, path);
    if (const Node* pages = node.find("error_pages"); pages != nullptr && pages->state == Node::State::good) {
        site.error_pages = error_page_set(*pages, path + ".error_pages");
    } else if (pages != nullptr && pages->state == Node::State::unset && !config_->error_page_sets[0].empty()) {
        // An empty set of its own: the built-in page.
        site.error_pages = static_cast<std::uint32_t>(config_->error_page_sets.size());
        config_->error_page_sets.emplace_back();
    }
    build_routes(site, node, path);
    config_->sites.push_back(std::move(site));
}

} // namespace ladle::config
