// SPDX-License-Identifier: Apache-2.0
//
// [upstream.NAME] balance, sticky and adaptive: which server gets a request, and how many at once.
#include "common/config/builder.h"

#include "common/http/grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace ladle::config {

namespace {

constexpr std::size_t kMostCookieBytes = 64;

constexpr std::array<std::pair<std::string_view, HashKey::Kind>, 6> kKinds{{{"client", HashKey::Kind::client},
                                                                            {"header", HashKey::Kind::header},
                                                                            {"cookie", HashKey::Kind::cookie},
                                                                            {"query", HashKey::Kind::query},
                                                                            {"path", HashKey::Kind::path},
                                                                            {"url", HashKey::Kind::url}}};

bool has_name(HashKey::Kind kind)
{
    return kind == HashKey::Kind::header || kind == HashKey::Kind::cookie || kind == HashKey::Kind::query;
}

bool is_name(HashKey::Kind kind, std::string_view name)
{
    const bool is_argument = !name.empty() && name.find_first_of("&=#") == std::string_view::npos;
    return kind == HashKey::Kind::query ? is_argument : http::is_token(name);
}

} // namespace

void Builder::build_hash_key(HashKey& key, const Node& node, const std::string& path)
{
    const std::size_t colon = std::min(node.text.find(':'), node.text.size());
    const std::string_view kind = std::string_view(node.text).substr(0, colon);
    key.name = node.text.substr(std::min(colon + 1, node.text.size()));
    const auto* const found = std::find_if(kKinds.begin(), kKinds.end(), [kind](const auto& one) { return one.first == kind; });
    const bool is_known = found != kKinds.end();
    key.kind = is_known ? found->second : HashKey::Kind::client;
    if (!is_known || (has_name(key.kind) ? !is_name(key.kind, key.name) : colon != node.text.size())) {
        findings_.error(node.place, path,
                        fmt::format("expected \"client\", \"header:NAME\", \"cookie:NAME\", \"query:NAME\", \"path\" or \"url\", "
                                    "got \"{}\"",
                                    node.text));
    }
}

void Builder::build_adaptive(Upstream& upstream, const Inherited& table, const std::string& path)
{
    const Node* node = good(table.find("adaptive"));
    const Inherited adaptive = table.sub("adaptive");
    if (node == nullptr || adaptive.number("adaptive", "on") == 0) {
        return;
    }
    upstream.adaptive = Adaptive{static_cast<std::uint32_t>(adaptive.number("adaptive", "min")),
                                 static_cast<std::uint32_t>(adaptive.number("adaptive", "tolerance"))};
    const Node* least = good(adaptive.find("min"));
    for (const UpstreamServer& server : upstream.servers) {
        if (least != nullptr && !server.is_added && server.max_conn != 0 && server.max_conn < upstream.adaptive->least) {
            findings_.error(least->place, path + ".adaptive.min",
                            fmt::format("min is {}, but the max_conn of {} is {}", upstream.adaptive->least, server.text,
                                        server.max_conn),
                            "max_conn is the most: make it larger, or min smaller");
            break;
        }
    }
}

void Builder::build_balance(Upstream& upstream, const Inherited& table, const std::string& path)
{
    const Inherited balance = table.sub("balance");
    upstream.balance = static_cast<Balance>(balance.number("balance", "method"));
    if (const Node* key = good(balance.find("key")); key != nullptr) {
        if (upstream.balance != Balance::hash) {
            findings_.error(key->key_place, path + ".balance.key", "only the method \"hash\" goes by a key",
                            fmt::format("write balance = {{ method = \"hash\", key = \"{}\" }}", key->text));
        }
        build_hash_key(upstream.hash_key, *key, path + ".balance.key");
    }
    const auto is_endless = [](const UpstreamServer& one) { return one.max_conn == 0; };
    if (upstream.balance == Balance::first && !upstream.adaptive &&
        std::all_of(upstream.servers.begin(), upstream.servers.end(), is_endless)) {
        findings_.warning(table.find("balance")->place, path + ".balance",
                          "the first server gets everything: none has a max_conn at which the next one would be used");
    }
    const Node* sticky = good(table.find("sticky"));
    if (sticky == nullptr) {
        return;
    }
    upstream.sticky_cookie = table.sub("sticky").text("sticky", "cookie");
    if (!http::is_token(upstream.sticky_cookie) || upstream.sticky_cookie.size() > kMostCookieBytes) {
        const Node* cookie = sticky->find("cookie");
        if (cookie == nullptr || cookie->state == Node::State::good) {
            findings_.error(cookie != nullptr ? cookie->place : sticky->place, path + ".sticky",
                            fmt::format("the name of a cookie has from 1 to {} letters, digits and marks such as - and _, "
                                        "got \"{}\"",
                                        kMostCookieBytes, upstream.sticky_cookie),
                            "write sticky = \"srv\"");
        }
    }
    const HashKey& key = upstream.hash_key;
    if (upstream.balance == Balance::hash && key.kind == HashKey::Kind::cookie && key.name == upstream.sticky_cookie) {
        findings_.error(
            sticky->place, path + ".sticky",
            fmt::format("the cookie \"{}\" is the key of `balance`, and this one is made here: no server would ever set it",
                        key.name),
            "give it another name");
    }
}

} // namespace ladle::config
