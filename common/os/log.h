// SPDX-License-Identifier: Apache-2.0
//
// The error log of this process: one line of logfmt for each event, for people and for machines.
//
//   2026-11-23T06:25:10.123Z warning worker=0 event="cannot accept" reason="Too many open files"
//
// Whole lines go to one descriptor (2 until set), so that those of several processes never mix. It never blocks: a process that
// serves traffic hands its lines to a thread (start_log_buffer(), log_buffer.h); the others write at once what the descriptor
// takes. A line that finds no room is dropped and counted, and the next one that goes through says how many were lost. Used by the
// master and every child; called from one thread, like the loop. The access log is another thing (worker/log).
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace ladle::os {

enum class Level : std::uint8_t { debug, info, warning, error };

/// One key=value of a line. Text is quoted where it must be; control characters are escaped, so input cannot forge lines.
struct Field {
    std::string_view key;
    std::string value;

    Field(std::string_view k, std::string_view v) : key(k), value(v) {}
    Field(std::string_view k, const std::string& v) : key(k), value(v) {}
    Field(std::string_view k, const char* v) : key(k), value(v) {}
    template <std::integral T>
    Field(std::string_view k, T v) : key(k), value(fmt::to_string(v))
    {
    }
};

/// Writes the line, unless `level` is below the set one, or the same event came more than kMostPerSecond times within this second
/// (the next line of the event says how many were held back). Never fails and never blocks. `event` is a literal.
void log(Level level, std::string_view event, std::initializer_list<Field> fields = {}) noexcept;

/// Where lines go from now on; borrowed, must stay open. -1 = nowhere.
void set_log_descriptor(int fd) noexcept;
int log_descriptor() noexcept;

/// From now on lines are written by a thread of their own (if there is none to be had, as before, with a warning). Not before a
/// fork that is to log.
void start_log_buffer();
/// Waits until all lines have been written, or for that time: before the process leaves or aborts.
void finish_log(std::chrono::milliseconds most) noexcept;

/// Lines below `level` are left out.
void set_log_level(Level level) noexcept;

/// Who speaks, the first pair of every line: "worker=0", "master".
void set_log_origin(std::string_view origin);

inline constexpr unsigned kMostPerSecond = 20;

/// Whether lines of that level are written: spares making what only they say.
bool is_logged(Level level) noexcept;

/// Lines held back or dropped so far.
std::uint64_t dropped_log_lines() noexcept;

/// Appends `text` to `out` as a logfmt value: bare if it is one word, else quoted and escaped.
void append_log_value(std::string& out, std::string_view text);

} // namespace ladle::os
