// SPDX-License-Identifier: Apache-2.0
//
// The tables that concern the whole proxy: [server], [trust], [timeouts], [budget], [defence], [log], and the error pages.
#include "common/config/builder.h"

#include "common/config/checker.h"
#include "common/config/names.h"
#include "common/config/values.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

namespace ladle::config {

namespace {

constexpr std::size_t kMaxErrorPageBytes = 256u << 10;

/// The key in ErrorPages for a file of the folder; nullopt where its name is none that is looked for.
std::optional<std::uint16_t> page_status(std::string_view file_name)
{
    if (file_name == "error.html") {
        return std::uint16_t{0};
    }
    if (file_name == "4xx.html" || file_name == "5xx.html") {
        return static_cast<std::uint16_t>(file_name.front() - '0');
    }
    const bool is_status = file_name.size() == 8 && file_name.ends_with(".html") && (file_name[0] == '4' || file_name[0] == '5') &&
                           file_name[1] >= '0' && file_name[1] <= '9' && file_name[2] >= '0' && file_name[2] <= '9';
    if (!is_status) {
        return std::nullopt;
    }
    return static_cast<std::uint16_t>((file_name[0] - '0') * 100 + (file_name[1] - '0') * 10 + (file_name[2] - '0'));
}

/// What to write instead of `to`, which is no target of a log; `near` is the word it resembles.
std::string log_target_hint(std::string_view to, std::string_view near)
{
    if (to == "journal") {
        return "only the error log goes to the journal; \"stderr\" goes there too where ladle is a systemd service";
    }
    if (to == "syslog" || to.starts_with("syslog:")) {
        return "ladle does not speak syslog: write \"stderr\"; systemd's journal takes that, and can pass it on";
    }
    return near.empty() ? std::string() : fmt::format("did you mean \"{}\"?", near);
}

} // namespace

const std::string* find_error_page(const ErrorPages& pages, std::uint16_t status)
{
    for (const int key : {static_cast<int>(status), status / 100, 0}) {
        if (const auto found = pages.find(static_cast<std::uint16_t>(key)); found != pages.end()) {
            return &found->second;
        }
    }
    return nullptr;
}

Inherited::Inherited(std::initializer_list<const Node*> tables)
{
    for (const Node* table : tables) {
        if (table != nullptr && table->is_table() && size_ < tables_.size()) {
            tables_[size_++] = table;
        }
    }
}

const Node* Inherited::find(std::string_view key) const
{
    for (std::size_t at = 0; at < size_; ++at) {
        const Node* found = tables_[at]->find(key);
        if (found != nullptr && (found->state == Node::State::good || found->state == Node::State::unset)) {
            return found;
        }
    }
    return nullptr;
}

Inherited Inherited::sub(std::string_view key) const
{
    Inherited out({});
    for (std::size_t at = 0; at < size_; ++at) {
        const Node* found = tables_[at]->find(key);
        if (found == nullptr) {
            continue;
        }
        if (found->state == Node::State::unset) {
            break;
        }
        if (found->state == Node::State::good && found->is_table()) {
            out.tables_[out.size_++] = found;
        }
    }
    return out;
}

std::vector<const Node*> Inherited::members() const
{
    std::vector<const Node*> out;
    std::set<std::string_view> seen;
    for (std::size_t at = 0; at < size_; ++at) {
        for (const Node& child : tables_[at]->children) {
            if (seen.insert(child.key).second && child.state == Node::State::good && find(child.key) == &child) {
                out.push_back(&child);
            }
        }
    }
    return out;
}

std::uint64_t Inherited::number(std::string_view schema, std::string_view key) const
{
    const Setting* setting = find_setting(schema, key);
    const Node* node = find(key);
    const bool is_absent = node == nullptr || node->state == Node::State::unset;
    if (is_absent || (!setting->word.empty() && node->is_text() && node->text == setting->word)) {
        return fallback_number(*setting);
    }
    return node->number;
}

std::string Inherited::text(std::string_view schema, std::string_view key) const
{
    const Node* node = find(key);
    return node == nullptr || node->state == Node::State::unset ? std::string(find_setting(schema, key)->fallback) : node->text;
}

std::vector<const Node*> good_items(const Node* node)
{
    std::vector<const Node*> out;
    if (node != nullptr && node->state == Node::State::good) {
        for (const Node& item : node->children) {
            if (item.state == Node::State::good) {
                out.push_back(&item);
            }
        }
    }
    return out;
}

std::shared_ptr<Config> Builder::build()
{
    build_server();
    build_limits();
    build_cache();
    build_log();
    build_upstreams();
    build_listens();
    build_sites();
    warn_unused();
    return config_;
}

void Builder::build_server()
{
    const Inherited table({root_.find("server")});
    Server& server = config_->server;
    server.workers = static_cast<std::uint32_t>(table.number("server", "workers"));
    server.user = table.text("server", "user");
    server.drain_timeout = duration_of(table.number("server", "drain_timeout"));
    server.state = table.text("server", "state");
    if (const Node* node = table.find("state"); node != nullptr) {
        server.state = resolve_path(findings_.file_name(node->place.file), node->text);
        if (node->text.empty()) {
            findings_.error(node->place, "server.state", "expected the path of a folder, got an empty string");
        }
    }
    server.worker_hang_timeout = duration_of(table.number("server", "worker_hang_timeout"));
    server.admin = table.text("server", "admin");
    if (const Node* node = table.find("admin"); node != nullptr) {
        server.admin = resolve_path(findings_.file_name(node->place.file), node->text);
        if (node->text.empty() || server.admin.size() > 107) {
            findings_.error(node->place, "server.admin", "the path of a Unix socket has from 1 to 107 bytes");
        }
    }
    if (const Node* node = table.find("user"); node != nullptr && node->text.empty()) {
        findings_.error(node->place, "server.user", "expected the name of a user, got an empty string");
    }
    for (const Node* item : good_items(table.find("resolvers"))) {
        if (Parsed<std::string> resolver = parse_resolver(item->text)) {
            server.resolvers.push_back(std::move(*resolver));
        } else {
            findings_.error(item->place, "server.resolvers", resolver.error().message, resolver.error().hint);
        }
    }
    if (const Node* node = table.find("error_pages"); node != nullptr) {
        if (const std::uint32_t set = error_page_set(*node, "server.error_pages"); set != 0) {
            config_->error_page_sets[0] = config_->error_page_sets[set];
        }
    }
    config_->timeouts = timeouts(Inherited({root_.find("timeouts")}));
}

void Builder::build_limits()
{
    const Inherited budget({root_.find("budget")});
    config_->budget.spool_memory_bytes = budget.number("budget", "spool_memory");
    config_->budget.spool_disk_bytes = budget.number("budget", "spool_disk");
    config_->budget.per_client_bytes = budget.number("budget", "per_client");
    config_->budget.requests_bytes = budget.number("budget", "requests");
    config_->budget.requests_per_client_bytes = budget.number("budget", "requests_per_client");
    config_->budget.spool_path = budget.text("budget", "spool_path");
    if (const Node* node = budget.find("spool_path"); node != nullptr) {
        config_->budget.spool_path = resolve_path(findings_.file_name(node->place.file), node->text);
    }

    const Inherited mirror({root_.find("mirror")});
    config_->mirror.requests = static_cast<std::uint32_t>(mirror.number("mirror", "requests"));
    config_->mirror.body_bytes = mirror.number("mirror", "bodies");
    config_->mirror.answer_bytes = mirror.number("mirror", "answer");
    config_->mirror.timeout = duration_of(mirror.number("mirror", "timeout"));

    const Inherited defence({root_.find("defence")});
    const Inherited request = defence.sub("request");
    config_->request_limits.head_bytes = static_cast<std::uint32_t>(request.number("request", "head"));
    config_->request_limits.header_count = static_cast<std::uint32_t>(request.number("request", "headers"));
    config_->request_limits.uri_bytes = static_cast<std::uint32_t>(request.number("request", "uri"));
    config_->request_limits.body_bytes = request.number("request", "body");
    const Inherited http2 = defence.sub("http2");
    const auto http2_number = [&http2](std::string_view key) { return static_cast<std::uint32_t>(http2.number("http2", key)); };
    config_->http2_limits.streams = http2_number("streams");
    config_->http2_limits.glitches = http2_number("glitches");
    config_->http2_limits.glitches_per_s = http2_number("glitches_per_second");
    config_->http2_limits.resets = http2_number("resets");
    config_->http2_limits.resets_per_s = http2_number("resets_per_second");
    config_->http2_limits.min_rate_per_s = http2_number("min_rate");
    config_->http2_limits.grace = duration_of(http2.number("http2", "grace"));
    config_->http2_limits.wait = duration_of(http2.number("http2", "wait"));
    config_->connection_limits.total = static_cast<std::uint32_t>(defence.sub("connections").number("connections", "total"));
    if (const Node* node = request.find("uri");
        node != nullptr && config_->request_limits.uri_bytes > config_->request_limits.head_bytes) {
        findings_.error(node->place, "defence.request.uri",
                        fmt::format("uri ({}) is more than head ({}), which holds it",
                                    format_size(config_->request_limits.uri_bytes),
                                    format_size(config_->request_limits.head_bytes)),
                        "raise head, or lower uri");
    }

    build_server_tls();
    build_key_device();
    const Node* trust = root_.find("trust");
    for (const Node* item : good_items(trust == nullptr ? nullptr : trust->find("forwarded_from"))) {
        if (Parsed<Cidr> range = parse_cidr(item->text)) {
            config_->forwarded_from.push_back(*range);
        } else {
            findings_.error(item->place, "trust.forwarded_from", range.error().message, range.error().hint);
        }
    }
}

LogTarget Builder::log_target(const Inherited& table, std::string_view schema, const std::string& path)
{
    const bool is_error_log = schema == "error";
    const std::string to = table.text(schema, "to");
    if (to == "off") {
        return {LogTarget::Kind::off, {}};
    }
    if (to == "stderr" || (is_error_log && to == "journal")) { // systemd writes a service's stderr to its journal
        return {LogTarget::Kind::standard_error, {}};
    }
    const Node* node = table.find("to");
    if (node != nullptr && !to.starts_with('/')) {
        constexpr std::array<std::string_view, 3> kWords{"stderr", "off", "journal"};
        const std::string_view near = nearest(to, std::span(kWords).first(is_error_log ? 3 : 2));
        findings_.error(node->place, path,
                        fmt::format("expected the absolute path of a file, \"stderr\"{} or \"off\", got \"{}\"",
                                    is_error_log ? ", \"journal\"" : "", to),
                        log_target_hint(to, near));
    }
    return {LogTarget::Kind::file, to};
}

void Builder::build_log()
{
    const Inherited table({root_.find("log")});
    const Inherited access = table.sub("access");
    const Inherited error = table.sub("error");
    config_->log.access = log_target(access, "access", "log.access.to");
    config_->log.access_format = static_cast<AccessFormat>(access.number("access", "format"));
    config_->log.error = log_target(error, "error", "log.error.to");
    config_->log.error_level = static_cast<LogLevel>(error.number("error", "level"));
}

Timeouts Builder::timeouts(const Inherited& table) const
{
    const auto of = [&](std::string_view key) { return duration_of(table.number("timeouts", key)); };
    return {of("header"), of("idle"), of("connect"), of("response"), of("stall"), of("tunnel"), of("handshake")};
}

std::uint32_t Builder::error_page_set(const Node& node, const std::string& path)
{
    const std::string folder = resolve_path(findings_.file_name(node.place.file), node.text);
    if (const auto known = page_sets_.find(folder); known != page_sets_.end()) {
        return known->second;
    }
    page_sets_[folder] = 0;
    const Result<std::vector<std::string>> names = files_.expand(folder + "/*.html");
    if (!names) {
        findings_.error(node.place, path, names.error().detail);
        return 0;
    }
    ErrorPages pages;
    for (const std::string& name : *names) {
        const std::optional<std::uint16_t> status = page_status(std::string_view(name).substr(name.rfind('/') + 1));
        if (!status) {
            findings_.warning(node.place, path, fmt::format("{} is no error page and is not used", name),
                              "pages are called 404.html, 4xx.html, 5xx.html or error.html");
            continue;
        }
        Result<std::string> text = files_.read(name);
        if (!text) {
            findings_.error(node.place, path, text.error().detail);
        } else if (text->size() > kMaxErrorPageBytes) {
            findings_.error(node.place, path, fmt::format("{} has more than {}", name, format_size(kMaxErrorPageBytes)));
        } else {
            pages[*status] = std::move(*text);
        }
    }
    if (pages.empty()) {
        findings_.error(node.place, path, fmt::format("there is no error page in \"{}\"", folder),
                        "pages are called 404.html, 4xx.html, 5xx.html or error.html");
        return 0;
    }
    config_->error_page_sets.push_back(std::move(pages));
    return page_sets_[folder] = static_cast<std::uint32_t>(config_->error_page_sets.size() - 1);
}

} // namespace ladle::config
