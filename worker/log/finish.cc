// SPDX-License-Identifier: Apache-2.0
#include "worker/log/finish.h"

#include "common/base/append.h"

#include <time.h>

#include <charconv>
#include <string>
#include <string_view>

namespace ladle::worker {

namespace {

/// The wall clock as text, made anew once a second. UTC, so that no time-zone file is needed in the sandbox.
struct ClockText {
    time_t second = 0;
    char combined[32] = "";
    char iso[32] = "";
};

const ClockText& clock_text(unsigned& milliseconds)
{
    static ClockText text;
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
    milliseconds = static_cast<unsigned>(now.tv_nsec / 1'000'000);
    if (now.tv_sec != text.second) {
        text.second = now.tv_sec;
        tm parts{};
        ::gmtime_r(&now.tv_sec, &parts);
        ::strftime(text.combined, sizeof text.combined, "%d/%b/%Y:%H:%M:%S +0000", &parts);
        ::strftime(text.iso, sizeof text.iso, "%Y-%m-%dT%H:%M:%S", &parts);
    }
    return text;
}

void append_number(std::string& line, std::uint64_t number)
{
    char text[20];
    line.append(text, static_cast<std::size_t>(std::to_chars(text, text + sizeof text, number).ptr - text));
}

/// Milliseconds with three places.
void append_milliseconds(std::string& line, loop::Nanos from, loop::Nanos to)
{
    const std::uint64_t micros = from == 0 || to < from ? 0 : (to - from) / 1000;
    append_number(line, micros / 1000);
    line += '.';
    const auto rest = static_cast<unsigned>(micros % 1000);
    line += static_cast<char>('0' + rest / 100);
    line += static_cast<char>('0' + rest / 10 % 10);
    line += static_cast<char>('0' + rest % 10);
}

void append_hex(std::string& line, unsigned char c)
{
    static constexpr char kDigits[] = "0123456789abcdef";
    line += kDigits[c >> 4];
    line += kDigits[c & 15];
}

/// Text inside quotes, so that what a client sends can end neither the quotes nor the line.
void append_escaped(std::string& line, std::string_view text, std::string_view hex_prefix)
{
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            line += '\\';
            line += c;
        } else if (byte < 0x20 || byte >= 0x7f) {
            line += hex_prefix;
            append_hex(line, byte);
        } else {
            line += c;
        }
    }
}

struct Step {
    std::string_view name;
    loop::Nanos from;
    loop::Nanos to;
};

void write_combined(const Request& request, std::string& line)
{
    unsigned milliseconds = 0;
    const ClockText& now = clock_text(milliseconds);
    const http::Fields& fields = request.head.fields;
    const auto quoted = [&line](std::string_view text) {
        line += " \"";
        append_escaped(line, text.empty() ? "-" : text, "\\x");
        line += '"';
    };
    line += request.client_address;
    line += " - - [";
    line += now.combined;
    line += "] \"";
    append_escaped(line, request.head.method_text(), "\\x");
    line += ' ';
    append_escaped(line, request.head.target(), "\\x");
    line += " HTTP/";
    line += protocol_version(request);
    line += "\" ";
    append_number(line, request.status);
    line += ' ';
    append_number(line, request.body_sent);
    quoted(fields.value_of(http::FieldName::referer));
    quoted(fields.value_of(http::FieldName::user_agent));
    line += " id=";
    line += request.id;
    line += " server=";
    line += request.server_text.empty() ? std::string_view("-") : request.server_text;
    if (const Encryption* encryption = request.client.encryption; encryption != nullptr) {
        const EncryptionFacts facts = encryption->facts();
        line += " tls=";
        line += facts.version;
        line += '/';
        line += facts.cipher;
    }
    if (request.hedged != Hedged::no) {
        line += request.hedged == Hedged::won ? " hedge=won" : " hedge=lost";
    }
    line += " ms=";
    append_milliseconds(line, request.times.begun, request.times.finished);
    line += " reason=";
    line += name_of(request.reason);
    line += '\n';
}

void write_json(const Request& request, std::string& line)
{
    unsigned milliseconds = 0;
    const ClockText& now = clock_text(milliseconds);
    const http::Fields& fields = request.head.fields;
    const Times& times = request.times;
    const auto text = [&line](std::string_view name, std::string_view value) {
        line += ",\"";
        line += name;
        line += "\":\"";
        append_escaped(line, value, "\\u00");
        line += '"';
    };
    const auto number = [&line](std::string_view name, std::uint64_t value) {
        line += ",\"";
        line += name;
        line += "\":";
        append_number(line, value);
    };
    line += "{\"time\":\"";
    line += now.iso;
    append(line, ".{:03}Z\"", milliseconds);
    text("id", request.id);
    text("client", request.client_address);
    text("peer", request.client.peer_text);
    text("method", request.head.method_text());
    text("host", request.host);
    text("target", request.head.target());
    line += ",\"protocol\":\"HTTP/";
    line += protocol_version(request);
    line += '"';
    if (const Encryption* encryption = request.client.encryption; encryption != nullptr) {
        const EncryptionFacts facts = encryption->facts();
        text("tls", facts.version);
        text("cipher", facts.cipher);
    }
    number("status", request.status);
    number("bytes", request.body_sent);
    number("request_bytes", request.body ? request.body->size() : 0);
    text("site", request.site != nullptr ? std::string_view(request.site->name) : std::string_view{});
    text("route", request.route != nullptr ? std::string_view(request.route->name) : std::string_view{});
    text("upstream", request.upstream_name);
    text("server", request.server_text);
    number("attempts", request.attempts);
    if (request.hedged != Hedged::no) {
        text("hedge", request.hedged == Hedged::won ? "won" : "lost");
    }
    text("reason", name_of(request.reason));
    text("referer", fields.value_of(http::FieldName::referer));
    text("user_agent", fields.value_of(http::FieldName::user_agent));
    const Step steps[] = {{"head_ms", times.begun, times.head},
                          {"body_ms", times.head, times.body},
                          {"connect_ms", times.body != 0 ? times.body : times.head, times.connected},
                          {"response_ms", times.connected, times.response},
                          {"deliver_ms", times.response, times.finished},
                          {"total_ms", times.begun, times.finished}};
    for (const Step& step : steps) {
        line += ",\"";
        line += step.name;
        line += "\":";
        append_milliseconds(line, step.from, step.to);
    }
    line += "}\n";
}

} // namespace

void finish(Request& request)
{
    request.times.finished = loop::clock_now();
    shm::ProcessRow& row = request.parts.row;
    row.add(shm::Metric::requests);
    row.add(metric_of(request.reason));
    switch (request.reason) {
    case Reason::bad_request:
    case Reason::bad_framing:
    case Reason::bad_host:
    case Reason::misdirected:
    case Reason::not_tls:
    case Reason::too_early:
    case Reason::bad_chunk:
    case Reason::bad_version:
    case Reason::method_not_allowed:
    case Reason::target_too_long:
    case Reason::head_too_large:
    case Reason::body_too_large:
    case Reason::expectation_failed:
    case Reason::head_timeout:
    case Reason::body_timeout:
        row.add(shm::Metric::requests_refused);
        break;
    default:
        break;
    }
    if (!request.parts.access_log.is_on()) {
        return;
    }
    static std::string line;
    line.clear();
    if (request.live->config->log.access_format == config::AccessFormat::json) {
        write_json(request, line);
    } else {
        write_combined(request, line);
    }
    request.parts.access_log.add(line);
}

} // namespace ladle::worker
