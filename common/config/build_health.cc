// SPDX-License-Identifier: Apache-2.0
//
// `health`, `agent`, `load_report`, `eject`, `breaker`, `retry`, `slow_start` and `panic` of an upstream.
#include "common/config/builder.h"

#include "common/config/names.h"
#include "common/config/values.h"
#include "common/http/grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace ladle::config {

namespace {

constexpr std::size_t kMostSend = 256;

/// Three digits; 0 where it is no status of a final response.
std::uint16_t parse_status(std::string_view digits)
{
    std::uint16_t value = 0;
    const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return code == std::errc() && digits.size() == 3 && end == digits.data() + 3 && value >= 200 && value <= 599 ? value
                                                                                                                 : std::uint16_t{0};
}

/// "204", "2xx" or "200-399".
std::optional<HealthCheck::Statuses> parse_statuses(std::string_view text)
{
    HealthCheck::Statuses out{0, 0};
    if (text.size() == 3 && text.substr(1) == "xx" && text[0] >= '2' && text[0] <= '5') {
        out.first = static_cast<std::uint16_t>((text[0] - '0') * 100);
        out.last = static_cast<std::uint16_t>(out.first + 99);
    } else if (text.size() == 7 && text[3] == '-') {
        out = {parse_status(text.substr(0, 3)), parse_status(text.substr(4))};
    } else {
        out.first = out.last = parse_status(text);
    }
    if (out.first == 0 || out.last < out.first) {
        return std::nullopt;
    }
    return out;
}

/// FNV-1a: the same in every version of the program, unlike std::hash, as it is compared over upgrades. Never 0.
std::uint64_t hash_of(std::string_view text)
{
    std::uint64_t hash = 14695981039346656037ull;
    for (const char c : text) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
    }
    return hash | 1u;
}

std::uint64_t fingerprint_of(const Upstream& upstream, const HealthCheck& check)
{
    std::string text = fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n{}\n{} {} {} {}\n{} {}\n{}\n", static_cast<int>(check.kind), check.path,
                                   check.method, check.host, check.service, check.body, check.port, check.interval.count(),
                                   check.timeout.count(), check.rise, check.fall, static_cast<int>(upstream.protocol),
                                   upstream.proxy_protocol ? 1 : 0, upstream.tls ? upstream.tls->fingerprint : std::string());
    for (const HealthCheck::Statuses& statuses : check.expect) {
        text += fmt::format("{}-{} ", statuses.first, statuses.last);
    }
    return hash_of(text);
}

/// Who is asked what, and not how often: what an agent has said, and only it takes back, holds over another interval.
std::uint64_t fingerprint_of_agent(const Upstream& upstream, const HealthCheck& agent)
{
    const bool is_line = agent.kind == CheckKind::line;
    return hash_of(fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n", static_cast<int>(agent.kind), agent.path, agent.host, agent.send,
                               agent.port, is_line || !upstream.tls ? std::string() : upstream.tls->fingerprint));
}

bool is_field_text(std::string_view text)
{
    return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

} // namespace

void Builder::build_check(Upstream& upstream, const Inherited& upstream_table, const std::string& path)
{
    const Node* node = upstream_table.find("health");
    if (node == nullptr || node->state != Node::State::good) {
        return;
    }
    const Inherited table = upstream_table.sub("health");
    HealthCheck check;
    check.kind = static_cast<CheckKind>(table.number("health", "kind"));
    check.path = table.text("health", "path");
    check.method = table.number("health", "method") == 0 ? "GET" : table.number("health", "method") == 1 ? "HEAD" : "OPTIONS";
    check.host = table.text("health", "host");
    check.service = table.text("health", "service");
    check.body = table.text("health", "body");
    check.port = static_cast<std::uint16_t>(table.number("health", "port"));
    check.interval = duration_of(table.number("health", "interval"));
    check.timeout = duration_of(table.number("health", "timeout"));
    check.rise = static_cast<std::uint32_t>(table.number("health", "rise"));
    check.fall = static_cast<std::uint32_t>(table.number("health", "fall"));
    for (const Node* item : good_items(table.find("expect"))) {
        if (const auto statuses = parse_statuses(item->text)) {
            check.expect.push_back(*statuses);
        } else {
            findings_.error(item->place, path + ".health.expect", fmt::format("expected a status, got \"{}\"", item->text),
                            "write 204, \"2xx\" or \"200-399\"");
        }
    }
    if (check.expect.empty()) {
        check.expect.push_back({200, 399});
    }
    const auto place = [&](std::string_view key) { return table.find(key) != nullptr ? table.find(key)->place : node->place; };
    if (check.path.empty() || check.path.front() != '/' || !is_field_text(check.path)) {
        findings_.error(place("path"), path + ".health.path",
                        fmt::format("expected a path that begins with /, without blanks, got \"{}\"", check.path),
                        "write health = \"/healthz\"");
    }
    if (!is_field_text(check.host)) {
        findings_.error(place("host"), path + ".health.host", "a host has no blanks");
    }
    if (check.kind == CheckKind::grpc && upstream.protocol != UpstreamProtocol::h2) {
        findings_.error(place("kind"), path + ".health.kind", "gRPC is spoken over HTTP/2",
                        fmt::format("write protocol = \"h2\" in [{}]", path));
    }
    if (check.method == "HEAD" && !check.body.empty()) {
        findings_.error(place("body"), path + ".health.body", "an answer to HEAD has no body", "leave the method out");
    }
    if (check.timeout > check.interval) {
        findings_.warning(place("timeout"), path + ".health.timeout",
                          "it is longer than the interval: while a server is silent it is asked less often");
    }
    check.fingerprint = fingerprint_of(upstream, check);
    upstream.health = std::move(check);
}

void Builder::build_agent(Upstream& upstream, const Inherited& upstream_table, const std::string& path)
{
    const Node* node = good(upstream_table.find("agent"));
    if (node == nullptr) {
        return;
    }
    const Inherited table = upstream_table.sub("agent");
    HealthCheck agent;
    agent.path = table.text("agent", "path");
    agent.kind = agent.path.empty() ? CheckKind::line : CheckKind::http;
    agent.host = table.text("agent", "host");
    agent.send = table.text("agent", "send");
    agent.port = static_cast<std::uint16_t>(table.number("agent", "port"));
    agent.interval = duration_of(table.number("agent", "interval"));
    agent.timeout = duration_of(table.number("agent", "timeout"));
    agent.expect.push_back({200, 299});
    const auto place = [&](std::string_view key) { return table.find(key) != nullptr ? table.find(key)->place : node->place; };
    const bool is_line = agent.kind == CheckKind::line;
    if (is_line && agent.port == 0) {
        findings_.error(place("port"), path + ".agent", "where does the agent listen?",
                        "write agent = { port = 9777 }, or a path if the server itself answers over HTTP");
    }
    if (!is_line && (agent.path.front() != '/' || !is_field_text(agent.path))) {
        findings_.error(place("path"), path + ".agent.path",
                        fmt::format("expected a path that begins with /, without blanks, got \"{}\"", agent.path),
                        "write agent = { path = \"/load\" }");
    }
    if (is_line && !agent.host.empty()) {
        findings_.error(place("host"), path + ".agent.host", "only a question over HTTP names a host", "give it a path as well");
    } else if (!is_field_text(agent.host)) {
        findings_.error(place("host"), path + ".agent.host", "a host has no blanks");
    }
    if (!is_line && !agent.send.empty()) {
        findings_.error(place("send"), path + ".agent.send", "over HTTP nothing is sent but the request",
                        "leave it or the path out");
    }
    if (agent.send.size() > kMostSend) {
        findings_.error(place("send"), path + ".agent.send", fmt::format("it has more than {} bytes", kMostSend));
    }
    if (agent.timeout > agent.interval) {
        findings_.warning(place("timeout"), path + ".agent.timeout",
                          "it is longer than the interval: while an agent is silent it is asked less often");
    }
    agent.fingerprint = fingerprint_of_agent(upstream, agent);
    upstream.agent = std::move(agent);
}

void Builder::build_breaker(Upstream& upstream, const Inherited& upstream_table, const std::string& path)
{
    const Inherited table = upstream_table.sub("breaker");
    if (good(upstream_table.find("breaker")) == nullptr || table.number("breaker", "on") == 0) {
        return;
    }
    BreakerSettings& breaker = upstream.breaker.emplace();
    breaker.rate = static_cast<std::uint32_t>(table.number("breaker", "rate"));
    breaker.requests = static_cast<std::uint32_t>(table.number("breaker", "requests"));
    breaker.within = duration_of(table.number("breaker", "within"));
    breaker.time = duration_of(table.number("breaker", "for"));
    breaker.longest = duration_of(table.number("breaker", "longest"));
    breaker.trials = static_cast<std::uint32_t>(table.number("breaker", "trials"));
    if (const Node* longest = good(table.find("longest")); longest != nullptr && breaker.longest < breaker.time) {
        findings_.error(longest->place, path + ".breaker.longest",
                        fmt::format("longest is {}, but `for`, the shortest time, is {}", longest->text,
                                    format_duration(static_cast<std::uint64_t>(breaker.time.count()))));
    }
    breaker.longest = std::max(breaker.longest, breaker.time);
}

void Builder::build_retry(Retry& retry, const Inherited& table, const std::string& path)
{
    retry.attempts = static_cast<std::uint32_t>(table.number("retry", "attempts"));
    retry.budget = static_cast<std::uint32_t>(table.number("retry", "budget"));
    retry.per_try = duration_of(table.number("retry", "per_try"));
    const Node* on = table.find("on");
    if (on == nullptr || on->state != Node::State::good) {
        retry.on_status = {502, 503, 504};
        return;
    }
    retry.on_connect = retry.on_reset = false;
    for (const Node* item : good_items(on)) {
        const std::uint16_t status = parse_status(item->text);
        if (item->text == "connect") {
            retry.on_connect = true;
        } else if (item->text == "reset") {
            retry.on_reset = true;
        } else if (status >= 500) {
            retry.on_status.push_back(status);
        } else {
            findings_.error(item->place, path + ".retry.on", fmt::format("expected a reason to ask again, got \"{}\"", item->text),
                            "write \"connect\", \"reset\", or a status of a failing server: 502, 503, 504");
        }
    }
}

void Builder::build_slowness(Upstream& upstream, const Inherited& eject, const std::string& path)
{
    Ejection& ejection = upstream.eject;
    ejection.slow = static_cast<std::uint32_t>(eject.number("eject", "slow"));
    ejection.slow_least = duration_of(eject.number("eject", "slow_least"));
    ejection.slow_requests = static_cast<std::uint32_t>(eject.number("eject", "slow_requests"));
    const Node* slow = good(eject.find("slow"));
    if (slow != nullptr && ejection.slow == 1) {
        findings_.error(slow->place, path + ".eject.slow", "a server that is as slow as the others is no reason to eject it",
                        "write how many times slower it has to be, 2 or more, or 0 for never");
    }
    // Who asks for what takes longest, at one server alone, would have it ejected, and then the next one that its key goes to.
    const bool is_chosen_by_client = upstream.balance == Balance::hash || !upstream.sticky_cookie.empty();
    if (slow != nullptr && ejection.slow > 1 && is_chosen_by_client) {
        findings_.warning(slow->place, path + ".eject.slow",
                          fmt::format("it does nothing here: with {} clients decide which server gets their slow requests",
                                      upstream.balance == Balance::hash ? "the method \"hash\"" : "sticky"),
                          "write slow = 0 for this upstream");
    }
    ejection.slow = is_chosen_by_client ? 0 : ejection.slow;
}

void Builder::build_hedge(Upstream& upstream, const Inherited& upstream_table, const std::string& path)
{
    const Inherited table = upstream_table.sub("hedge");
    constexpr std::uint32_t kPercent[] = {0, 50, 75, 90, 95, 98, 99}; // as the choices of `at` are
    upstream.hedge.percent = kPercent[table.number("hedge", "at")];
    upstream.hedge.budget = static_cast<std::uint32_t>(table.number("hedge", "budget"));
    upstream.hedge.soonest = duration_of(table.number("hedge", "soonest"));
    const Node* node = good(upstream_table.find("hedge"));
    if (node == nullptr) {
        return;
    }
    const auto warn = [&](std::string_view why, std::string_view hint) {
        findings_.warning(node->place, path + ".hedge", std::string(why), std::string(hint));
    };
    if (upstream.hedge.percent == 0) {
        if (node->find("at") == nullptr) {
            warn("it does not say when: no request is sent twice", "write hedge = \"p95\"");
        }
    } else if (upstream.servers.size() == 1) {
        warn("there is no second server that a request could be sent to", "");
    } else if (upstream.retry.attempts == 1) {
        warn("retry = 1 lets a request be sent to one server only: none is sent twice", "write retry = { attempts = 2, on = [] }");
    }
}

void Builder::build_health(Upstream& upstream, const Inherited& table, const std::string& path)
{
    build_check(upstream, table, path);
    build_agent(upstream, table, path);
    if (good(table.find("load_report")) != nullptr) {
        const Inherited report = table.sub("load_report");
        upstream.load_report =
            LoadReport{static_cast<std::uint32_t>(report.number("load_report", "penalty")),
                       duration_of(report.number("load_report", "blackout")), duration_of(report.number("load_report", "expire"))};
    }
    const Inherited eject = table.sub("eject");
    upstream.eject.failures = static_cast<std::uint32_t>(eject.number("eject", "failures"));
    upstream.eject.within = duration_of(eject.number("eject", "within"));
    upstream.eject.rate = static_cast<std::uint32_t>(eject.number("eject", "rate"));
    upstream.eject.time = duration_of(eject.number("eject", "for"));
    upstream.eject.longest = std::max(duration_of(eject.number("eject", "longest")), upstream.eject.time);
    upstream.eject.share = static_cast<std::uint32_t>(eject.number("eject", "max"));
    build_slowness(upstream, eject, path);
    build_breaker(upstream, table, path);
    build_retry(upstream.retry, table.sub("retry"), path);
    build_hedge(upstream, table, path);
    upstream.slow_start = duration_of(table.number("upstream", "slow_start"));
    upstream.panics = table.number("upstream", "panic") != 0;
    const std::vector<UpstreamServer>& servers = upstream.servers;
    if (!servers.empty() && std::all_of(servers.begin(), servers.end(), [](const auto& server) { return server.is_backup; })) {
        findings_.warning(table.find("servers") != nullptr ? table.find("servers")->place : Place{}, path + ".servers",
                          fmt::format("every server of [{}] is a backup, of none", path));
    }
}

} // namespace ladle::config
