// SPDX-License-Identifier: Apache-2.0
#include "worker/client/explain.h"

#include "common/config/values.h"
#include "common/http/cache_key.h"
#include "worker/cache/look_up.h"
#include "worker/client/connection.h"
#include "worker/request/admit.h"
#include "worker/request/find_route.h"
#include "worker/request/identify.h"
#include "worker/upstream/preference.h"

#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

namespace ladle::worker {

namespace {

/// The URL taken apart, as far as the choice of a listen needs it.
struct Wanted {
    bool is_https = false;
    bool has_port = false;
    std::uint16_t port = 80;
    std::string host; ///< lower case, without port
};

bool serves_port(const config::Listen& listen, std::uint16_t port)
{
    return std::ranges::any_of(listen.bind, [&](const config::BindAddress& bind) {
        const auto colon = bind.text.rfind(':');
        return !bind.text.starts_with("unix:") && bind.text.substr(colon + 1) == fmt::format("{}", port);
    });
}

/// The listen that such a request would come in on: one of its scheme and port that has a site for the host; without a port in the
/// URL any of its scheme will do.
std::uint32_t find_listen(const LiveConfig& live, const Wanted& wanted)
{
    const std::vector<config::Listen>& listens = live.config->listens;
    std::uint32_t fallback = Router::kNoListen;
    for (std::uint32_t index = 0; index < listens.size(); ++index) {
        const bool is_port = serves_port(listens[index], wanted.port);
        if (listens[index].is_tls != wanted.is_https || (wanted.has_port && !is_port)) {
            continue;
        }
        const bool has_site = live.router.find_site(index, wanted.host) != nullptr;
        if (is_port && has_site) {
            return index;
        }
        if (fallback == Router::kNoListen || has_site) {
            fallback = index;
        }
    }
    return fallback;
}

std::string place_text(const config::Config& config, const config::DefinedAt& at)
{
    return at.line == 0 || at.file >= config.files.size() ? std::string() : fmt::format("{}:{}", config.files[at.file], at.line);
}

void set_peer(ClientStream& client, const Address& address)
{
    auto& v6 = reinterpret_cast<sockaddr_in6&>(client.peer);
    v6.sin6_family = AF_INET6; // IPv4 as v4-mapped: what compares addresses makes no difference
    std::memcpy(&v6.sin6_addr, address.data(), address.size());
    client.peer_text = to_text(address);
}

ipc::Facts facts_of(const config::FieldEdits& edits)
{
    ipc::Facts out;
    for (const config::FieldEdits::Set& set : edits.set) {
        out.emplace_back(set.name, set.value);
    }
    for (const std::string& name : edits.remove) {
        out.emplace_back(name, "");
    }
    return out;
}

/// Empty where there is none.
std::string explain_breaker(const Upstream& upstream, loop::Nanos now)
{
    if (!upstream.settings().breaker) {
        return {};
    }
    const shm::BreakerReading reading = upstream.read_breaker(now);
    if (reading.phase == shm::BreakerPhase::closed) {
        return "closed";
    }
    if (reading.phase == shm::BreakerPhase::half_open) {
        return fmt::format("half open, {} of {} trials ended well", reading.good, upstream.settings().breaker->trials);
    }
    const loop::Nanos shut = upstream.time_shut(now);
    return shut == 0 ? "open, the next request is a trial"
                     : fmt::format("open, nothing is sent for {}.{} s more", shut / 1'000'000'000, shut / 100'000'000 % 10);
}

void explain_servers(Request& request, ipc::Explanation& out)
{
    Upstream& upstream = *request.live->upstreams[request.upstream];
    out.upstream = upstream.settings().name;
    out.breaker = explain_breaker(upstream, request.parts.loop.now());
    // Asking in turn would take somebody's.
    const bool may_ask = upstream.settings().balance != config::Balance::round_robin || request.sticky_member;
    const Upstream::Choice choice = may_ask ? upstream.choose({}, request.parts.loop.now(), preference_of(request, upstream),
                                                              Upstream::Purpose::explanation)
                                            : Upstream::Choice{Upstream::Outcome::none_left, 0};
    for (std::uint32_t index = 0; index < upstream.members().size(); ++index) {
        out.servers.push_back({upstream.members()[index].settings->text, upstream.weight_of(index),
                               choice.outcome == Upstream::Outcome::chosen && choice.member == index,
                               upstream.share_of(index, request.parts.loop.now()),
                               upstream.settings().adaptive ? upstream.limit_of(index) : 0, upstream.agent_says(index)});
    }
}

void explain_limits(const config::Route& route, ipc::Explanation& out)
{
    const auto add = [&](const char* name, config::Duration time) {
        out.limits.emplace_back(name, config::format_duration(static_cast<std::uint64_t>(time.count())));
    };
    add("timeouts.connect", route.timeouts.connect);
    add("timeouts.response", route.timeouts.response);
    add("timeouts.stall", route.timeouts.stall);
    add("timeouts.tunnel", route.timeouts.tunnel);
    const bool is_full = route.request_buffering == config::RequestBuffering::full;
    const bool spools = route.response_buffering == config::ResponseBuffering::spool;
    out.limits.emplace_back("buffer.request", is_full ? "full" : "stream");
    out.limits.emplace_back("buffer.response", spools ? "spool" : "stream");
    out.limits.emplace_back("body", config::format_size(route.body_bytes));
    out.body_bytes = route.body_bytes;
}

void explain_route(Request& request, ipc::Explanation& out)
{
    const config::Config& config = *request.live->config;
    if (request.site != nullptr) {
        out.site = request.site->name;
        out.site_at = place_text(config, request.site->at);
    }
    out.path = request.path;
    if (request.route != nullptr) {
        const config::Route& route = *request.route;
        out.route = route.name;
        out.route_at = place_text(config, route.at);
        if (route.headers) {
            out.request_headers = facts_of(route.headers->request);
            out.response_headers = facts_of(route.headers->response);
        }
    }
    if (!request.redirect.empty()) {
        out.status = request.redirect_status;
        out.reason = "redirect";
        out.location = request.redirect;
    } else if (request.route != nullptr && request.route->respond) {
        out.status = request.route->respond->status;
        out.reason = "respond";
    } else if (request.route != nullptr && out.status == 0) {
        out.sent = request.sent_target;
        if (out.sent.empty()) {
            out.sent = (request.target.lacks_slash ? "/" : "") + std::string(request.target.path_and_query);
        }
        explain_limits(*request.route, out);
        explain_servers(request, out);
        if (const auto& mirror = request.route->mirror) {
            out.mirror = config.upstreams[mirror->upstream].name;
            out.mirror_share = mirror->share;
        }
        if (request.route->cache && request.parts.cache) {
            begin_visit(request);
            out.cache_key = request.cache->looks_up ? request.cache->key : "";
        }
    }
}

/// The head that a client would send; empty where the question cannot be one (the error says why).
std::string make_head(const ipc::Question& question, Wanted& wanted, std::string& error)
{
    http::KeyTarget target;
    if (!http::split_url(question.url, target)) {
        error = fmt::format("expected a URL such as \"https://example.com/path\", got \"{}\"", question.url);
        return {};
    }
    wanted.is_https = http::equals_ignoring_case(target.scheme, "https");
    const std::string_view host = http::host_of(target.authority);
    const std::string_view port = target.authority.substr(std::min(host.size() + 1, target.authority.size()));
    wanted.host.resize(host.size());
    std::transform(host.begin(), host.end(), wanted.host.begin(), http::to_lower);
    wanted.has_port = !port.empty();
    wanted.port = static_cast<std::uint16_t>(http::parse_decimal(port).value_or(wanted.is_https ? 443 : 80));
    std::string head = fmt::format("{} {}{}{}{} HTTP/1.1\r\nHost: {}\r\n", question.method,
                                   target.path.starts_with('/') || target.path == "*" ? "" : "/", target.path,
                                   target.has_query ? "?" : "", target.query, target.authority);
    for (const auto& [name, value] : question.fields) {
        if (!http::is_token(name) || !http::is_field_value(value)) {
            error = fmt::format("\"{}: {}\" is no header", name, value);
            return {};
        }
        if (!http::equals_ignoring_case(name, "Host")) {
            head += fmt::format("{}: {}\r\n", name, value);
        }
    }
    return head + "\r\n";
}

} // namespace

ipc::Explanation explain(WorkerParts& parts, const std::shared_ptr<LiveConfig>& live, const ipc::Question& question)
{
    ipc::Explanation out;
    Wanted wanted;
    std::string head = make_head(question, wanted, out.error);
    const auto client = parse_address(question.client.empty() ? std::string_view("127.0.0.1") : std::string_view(question.client));
    if (out.error.empty() && !client) {
        out.error = fmt::format("expected an IP address for the client, got \"{}\"", question.client);
    }
    const std::uint32_t listen = find_listen(*live, wanted);
    if (out.error.empty() && listen == Router::kNoListen) {
        out.error = fmt::format("no address is listened on for {} on port {}", wanted.is_https ? "https" : "http", wanted.port);
    }
    if (!out.error.empty()) {
        return out;
    }
    ClientConnection nobody(parts.loop, parts.row);
    Request request(parts, nobody, live);
    request.listen = listen;
    request.is_question = true;
    set_peer(nobody, *client);
    const config::RequestLimits& limits = live->config->request_limits;
    std::optional<Answer> refused;
    if (request.head.parse(head, {limits.head_bytes, limits.uri_bytes}) != http::Progress::complete) {
        refused = answer_for(request.head.error);
    } else {
        identify(request);
        if (wanted.is_https) {
            request.scheme = "https";
            request.is_encrypted = true;
        }
        refused = admit(request);
        refused = refused ? refused : find_route(request);
    }
    if (refused) {
        out.status = refused->status;
        out.reason = name_of(refused->reason);
    }
    explain_route(request, out);
    return out;
}

} // namespace ladle::worker
