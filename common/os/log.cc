// SPDX-License-Identifier: Apache-2.0
#include "common/os/log.h"

#include "common/base/append.h"
#include "common/os/log_buffer.h"

#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <system_error>

namespace ladle::os {

namespace {

int g_descriptor = 2;
Level g_level = Level::info;
std::string g_origin = "ladle";
std::uint64_t g_dropped = 0;
std::uint64_t g_dropped_told = 0;
std::unique_ptr<LogBuffer> g_buffer; // null: lines are written here and now

/// What one event has said within the current second.
struct EventRate {
    const char* event = nullptr;
    time_t second = 0;
    unsigned lines = 0;
    unsigned held_back = 0;
};

EventRate g_rates[64]; // more events than there are in the program; two in one place only share a limit

/// Whether the event may speak; `held_back` = how many lines it could not say before.
bool may_speak(std::string_view event, unsigned& held_back) noexcept
{
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    EventRate& rate = g_rates[std::hash<const void*>{}(event.data()) / 8 % std::size(g_rates)];
    if (rate.event != event.data() || rate.second != now.tv_sec) {
        held_back = rate.event == event.data() ? rate.held_back : 0;
        rate = {event.data(), now.tv_sec, 0, 0};
    }
    if (++rate.lines > kMostPerSecond) {
        ++rate.held_back;
        ++g_dropped;
        ++g_dropped_told; // it is told as held_back
        return false;
    }
    return true;
}

const char* level_name(Level level) noexcept
{
    switch (level) {
    case Level::debug:
        return "debug";
    case Level::info:
        return "info";
    case Level::warning:
        return "warning";
    case Level::error:
        return "error";
    }
    return "?";
}

void append_time(std::string& out)
{
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    tm t{};
    ::gmtime_r(&now.tv_sec, &t);
    append(out, "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min,
           t.tm_sec, now.tv_nsec / 1'000'000);
}

/// poll() first instead of O_NONBLOCK, which would change the descriptor for everybody who shares it (a terminal, say).
bool try_write(const std::string& line) noexcept
{
    if (g_buffer) {
        return g_buffer->add(line);
    }
    pollfd p{g_descriptor, POLLOUT, 0};
    if (::poll(&p, 1, 0) != 1 || (p.revents & POLLOUT) == 0) {
        return false;
    }
    return ::write(g_descriptor, line.data(), line.size()) == static_cast<ssize_t>(line.size());
}

} // namespace

void append_log_value(std::string& out, std::string_view text)
{
    const auto is_plain = [](char c) { return c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\'; };
    if (!text.empty() && std::all_of(text.begin(), text.end(), is_plain)) {
        out += text;
        return;
    }
    out += '"';
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (c == '\n') {
            out += "\\n";
        } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
            append(out, "\\x{:02x}", static_cast<unsigned char>(c));
        } else {
            out += c;
        }
    }
    out += '"';
}

void log(Level level, std::string_view event, std::initializer_list<Field> fields) noexcept
{
    unsigned held_back = 0;
    if (level < g_level || g_descriptor < 0 || !may_speak(event, held_back)) {
        return;
    }
    std::string line;
    line.reserve(256);
    append_time(line);
    line += ' ';
    line += level_name(level);
    line += ' ';
    line += g_origin;
    line += " event=\"";
    line += event;
    line += '"';
    for (const Field& field : fields) {
        line += ' ';
        line += field.key;
        line += '=';
        append_log_value(line, field.value);
    }
    if (held_back != 0) {
        append(line, " held_back_before={}", held_back);
    }
    const std::uint64_t dropped = dropped_log_lines();
    if (dropped != g_dropped_told) {
        append(line, " lines_lost_before={}", dropped - g_dropped_told);
    }
    if (line.size() >= kMaxLogWrite) {
        line.resize(kMaxLogWrite - 1);
    }
    line += '\n';
    if (try_write(line)) {
        g_dropped_told = dropped;
    } else {
        ++g_dropped;
    }
}

void set_log_descriptor(int fd) noexcept
{
    g_descriptor = fd;
    if (g_buffer) {
        g_buffer->set_file(fd);
    }
}

void start_log_buffer()
{
    try {
        g_buffer = std::make_unique<LogBuffer>(g_descriptor);
    } catch (const std::system_error& error) {
        log(Level::warning, "no thread for the error log; it is written in the loop", {{"reason", error.what()}});
    }
}

void finish_log(std::chrono::milliseconds most) noexcept
{
    if (g_buffer) {
        g_buffer->finish(most);
    }
}

int log_descriptor() noexcept
{
    return g_descriptor;
}

bool is_logged(Level level) noexcept
{
    return level >= g_level;
}

void set_log_level(Level level) noexcept
{
    g_level = level;
}

void set_log_origin(std::string_view origin)
{
    g_origin = origin;
}

std::uint64_t dropped_log_lines() noexcept
{
    return g_dropped + (g_buffer ? g_buffer->lost() : 0);
}

} // namespace ladle::os
