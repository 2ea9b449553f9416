// SPDX-License-Identifier: Apache-2.0
//
// [upstream.NAME], and the upstreams that a site or a route makes by giving a URL.
#include "common/config/builder.h"

#include "common/config/checker.h"
#include "common/config/names.h"
#include "common/config/server_changes.h"
#include "common/config/values.h"

#include <fmt/format.h>

#include <algorithm>

namespace ladle::config {

namespace {

/// An upstream's name and a server's text make the key of its entry in the shared table.
constexpr std::size_t kMaxNameBytes = 128;

} // namespace

void Builder::build_upstreams()
{
    const Node* named = root_.find("upstream");
    if (named == nullptr || named->state != Node::State::good) {
        return;
    }
    for (const Node& node : named->children) {
        const std::string path = join_key("upstream", node.key);
        // A table that the checker refused still defines its name: references to it are not wrong as well.
        upstreams_[node.key] = {static_cast<std::uint32_t>(config_->upstreams.size()), node.key_place, path, false};
        Upstream& upstream = config_->upstreams.emplace_back();
        upstream.name = node.key;
        if (node.key.empty() || node.key.size() > kMaxNameBytes || !is_printable(node.key) ||
            node.key.find(':') != std::string::npos) {
            findings_.error(node.key_place, path, "the name of an upstream has from 1 to 128 printable characters and no \":\"");
        }
        if (node.state != Node::State::good) {
            continue;
        }
        const Inherited table({&node});
        upstream.protocol = static_cast<UpstreamProtocol>(table.number("upstream", "protocol"));
        if (const std::uint64_t version = table.number("upstream", "proxy_protocol"); version != 0) { // "off" is the first choice
            upstream.proxy_protocol = static_cast<http::ProxyVersion>(version);
            if (upstream.protocol == UpstreamProtocol::h2) {
                findings_.error(node.find("proxy_protocol")->place, path + ".proxy_protocol",
                                "an HTTP/2 connection serves many clients, its PROXY header could name only one",
                                "leave protocol at \"h1\", or proxy_protocol out: X-Forwarded-For tells of each request");
            }
        }
        const Inherited keepalive = table.sub("keepalive");
        upstream.keepalive_idle = static_cast<std::uint32_t>(keepalive.number("keepalive", "idle"));
        upstream.keepalive_timeout = Duration(static_cast<Duration::rep>(keepalive.number("keepalive", "timeout")));
        const Inherited queue = table.sub("queue");
        upstream.queue_size = static_cast<std::uint32_t>(queue.number("queue", "size"));
        upstream.queue_timeout = Duration(static_cast<Duration::rep>(queue.number("queue", "timeout")));

        const Node* servers = node.find("servers");
        if (servers == nullptr && std::any_of(node.children.begin(), node.children.end(),
                                              [](const Node& child) { return child.state == Node::State::bad; })) {
            continue;
        }
        if (servers == nullptr || (servers->state == Node::State::good && servers->children.empty())) {
            findings_.error(servers == nullptr ? node.key_place : servers->place, path, fmt::format("[{}] has no servers", path),
                            "write servers = [\"10.0.0.1:8080\"]");
            continue;
        }
        std::map<std::string, Place> seen;
        for (const Node* item : good_items(servers)) {
            add_server(upstream, *item, table, path, seen);
        }
        change_servers(upstream, table, path);
        build_upstream_tls(upstream, node.find("tls"), *servers, path);
        build_adaptive(upstream, table, path);
        build_balance(upstream, table, path);
        build_health(upstream, table, path);
    }
}

/// What the operator has changed while the proxy ran; first what was added, so that the last of the file's may go. The file may
/// have changed since: what it says already, or what does not fit any more, is passed over.
void Builder::change_servers(Upstream& upstream, const Inherited& defaults, const std::string& path)
{
    const std::vector<ServerChange> changes = parse_server_changes(files_.server_changes());
    for (const ServerChange& change : changes) {
        if (change.upstream == upstream.name && !change.is_removal) {
            add_changed_server(upstream, change, defaults, path);
        }
    }
    for (const ServerChange& change : changes) {
        const Parsed<UpstreamServer> server = parse_server(change.server);
        if (change.upstream != upstream.name || !change.is_removal || !server || upstream.servers.size() == 1) {
            continue;
        }
        if (std::erase_if(upstream.servers, [&](const UpstreamServer& one) { return one.text == server->text; }) != 0) {
            upstream.removed.push_back(server->text);
            --server_count_;
        }
    }
    if (server_count_ > kMaxServers) {
        findings_.error({}, path + ".servers", fmt::format("there are more than {} servers", kMaxServers),
                        "some of them were added by a command");
    }
}

void Builder::add_changed_server(Upstream& upstream, const ServerChange& change, const Inherited& defaults, const std::string& path)
{
    Parsed<UpstreamServer> server = parse_server(change.server);
    const auto is_same = [&](const UpstreamServer& one) { return one.text == server->text; };
    if (!server || std::ranges::any_of(upstream.servers, is_same)) {
        return;
    }
    if (defaults.find("tls") == nullptr && !upstream.servers.empty() && upstream.servers.front().is_https != server->is_https) {
        findings_.warning(
            {}, path + ".servers",
            fmt::format("the server {} that was added is passed over: some servers would be spoken to over TLS and some "
                        "are not",
                        change.server),
            fmt::format("ladle upstream {} server {} remove", upstream.name, change.server));
        return;
    }
    const auto pick = [&](std::uint32_t changed, std::string_view key) {
        return changed != 0 ? changed : static_cast<std::uint32_t>(defaults.number("upstream", key));
    };
    server->weight = pick(change.weight, "weight");
    server->max_conn = pick(change.max_conn, "max_conn");
    server->is_backup = change.is_backup;
    server->is_added = true;
    ++server_count_;
    upstream.servers.push_back(std::move(*server));
}

void Builder::add_server(Upstream& upstream, const Node& item, const Inherited& defaults, const std::string& path,
                         std::map<std::string, Place>& seen)
{
    const Node* address = item.is_table() ? item.find("address") : &item;
    if (address == nullptr || address->state != Node::State::good) {
        return;
    }
    Parsed<UpstreamServer> server = parse_server(address->text);
    if (!server) {
        findings_.error(address->place, path + ".servers", server.error().message, server.error().hint);
        return;
    }
    const auto [first, is_new] = seen.emplace(server->text, address->place);
    if (!is_new) {
        findings_.error(address->place, path + ".servers", fmt::format("the server {} stands twice in [{}]", server->text, path),
                        fmt::format("first at {}; for a larger share give it a weight", findings_.where(first->second)));
        return;
    }
    const Inherited own({item.is_table() ? &item : nullptr});
    const auto pick = [&](std::string_view key) {
        return static_cast<std::uint32_t>(own.find(key) != nullptr ? own.number("server_entry", key)
                                                                   : defaults.number("upstream", key));
    };
    server->weight = pick("weight");
    server->max_conn = pick("max_conn");
    server->is_backup = own.number("server_entry", "backup") != 0;
    if (++server_count_ == kMaxServers + 1) {
        findings_.error(address->place, path + ".servers", fmt::format("there are more than {} servers", kMaxServers),
                        "the shared table of servers holds no more");
    }
    upstream.servers.push_back(std::move(*server));
}

std::optional<std::uint32_t> Builder::find_upstream(const Node& node, const std::string& path)
{
    if (const auto named = upstreams_.find(node.text); named != upstreams_.end()) {
        named->second.is_used = true;
        return named->second.index;
    }
    if (node.text.find("://") != std::string::npos) {
        Parsed<UpstreamServer> server = parse_server(node.text);
        if (!server) {
            findings_.error(node.place, path, server.error().message, server.error().hint);
            return std::nullopt;
        }
        const std::string name = (server->is_https ? "https://" : "http://") + server->text;
        if (const auto known = upstreams_.find(name); known != upstreams_.end()) {
            return known->second.index;
        }
        if (++server_count_ == kMaxServers + 1) {
            findings_.error(node.place, path, fmt::format("there are more than {} servers", kMaxServers),
                            "the shared table of servers holds no more");
        }
        const auto index = static_cast<std::uint32_t>(config_->upstreams.size());
        upstreams_[name] = {index, node.place, path, true};
        Upstream& upstream = config_->upstreams.emplace_back();
        upstream.name = name;
        upstream.servers.push_back(std::move(*server));
        build_upstream_tls(upstream, nullptr, node, path);
        build_health(upstream, Inherited({}), path);
        return index;
    }
    if (node.text.empty()) {
        findings_.error(node.place, path, "expected the name of an [upstream.NAME] or a URL, got an empty string",
                        "write a URL such as \"http://127.0.0.1:3000\"");
        return std::nullopt;
    }
    if (node.text.find(':') != std::string::npos) {
        findings_.error(node.place, path, fmt::format("expected the name of an [upstream.NAME] or a URL, got \"{}\"", node.text),
                        fmt::format("write \"http://{}\"", node.text));
        return std::nullopt;
    }
    std::vector<std::string_view> names;
    for (const auto& [name, known] : upstreams_) {
        if (name.find("://") == std::string::npos) {
            names.push_back(name);
        }
    }
    const std::string_view near = nearest(node.text, names);
    findings_.error(
        node.place, path, fmt::format("there is no [{}]", join_key("upstream", node.text)),
        !near.empty()
            ? fmt::format("did you mean \"{}\", defined at {}?", near, findings_.where(upstreams_.at(std::string(near)).place))
            : fmt::format("add [{}] with servers = [\"10.0.0.1:8080\"], or write a URL such as \"http://127.0.0.1:3000\"",
                          join_key("upstream", node.text)));
    return std::nullopt;
}

void Builder::warn_unused()
{
    if (findings_.has_errors()) {
        return; // what is unused may be so because of a mistake that is reported already
    }
    if (config_->sites.empty()) {
        findings_.warning({}, {}, "there is no site: nothing would be served",
                          "write [site.\"example.com\"] and upstream = \"http://127.0.0.1:3000\"");
        return;
    }
    for (const auto& [name, known] : upstreams_) {
        if (!known.is_used) {
            findings_.warning(known.place, known.path, fmt::format("no site uses [{}]", known.path));
        }
    }
    for (const auto& [name, known] : listens_) {
        if (!known.is_used) {
            findings_.warning(known.place, known.path, fmt::format("no site uses [{}]", known.path));
        }
    }
}

} // namespace ladle::config
