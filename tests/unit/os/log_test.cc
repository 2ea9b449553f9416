// SPDX-License-Identifier: Apache-2.0
#include "common/os/fd.h"
#include "common/os/log.h"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <unistd.h>

#include <string>

using namespace ladle;

namespace {

/// Sends the log into a pipe while it lives.
class Captured {
public:
    Captured() : before_(os::log_descriptor())
    {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
        reading_ = os::Fd(ends[0]);
        writing_ = os::Fd(ends[1]);
        os::set_log_descriptor(writing_.get());
    }
    ~Captured()
    {
        os::set_log_descriptor(before_);
        os::set_log_level(os::Level::info);
    }
    std::string text() const
    {
        char block[65536];
        const ssize_t n = ::read(reading_.get(), block, sizeof block);
        return n > 0 ? std::string(block, static_cast<std::size_t>(n)) : "";
    }

private:
    int before_;
    os::Fd reading_;
    os::Fd writing_;
};

} // namespace

TEST_CASE("a log line is one line of logfmt with time, level, origin and event")
{
    const Captured log;
    os::set_log_origin("worker=3");
    os::log(os::Level::warning, "something odd", {{"reason", "no room"}, {"count", 7}, {"word", "plain"}});
    const std::string line = log.text();
    CHECK(line.size() > 25);
    CHECK(line[4] == '-');
    CHECK(line[23] == 'Z');
    CHECK(line.substr(24) == " warning worker=3 event=\"something odd\" reason=\"no room\" count=7 word=plain\n");
}

TEST_CASE("input cannot forge a log line")
{
    std::string out;
    os::append_log_value(out, "a\nb \"c\" \\ \x01 =");
    CHECK(out == "\"a\\nb \\\"c\\\" \\\\ \\x01 =\"");
    out.clear();
    os::append_log_value(out, "");
    CHECK(out == "\"\"");
}

TEST_CASE("lines below the level are left out")
{
    const Captured log;
    os::set_log_level(os::Level::error);
    os::log(os::Level::warning, "quiet");
    CHECK(log.text().empty());
}

TEST_CASE("a line that the log does not take is dropped and told of later")
{
    const Captured log;
    const std::string filler(3000, 'x');
    const std::uint64_t before = os::dropped_log_lines();
    for (int i = 0; i < 40; ++i) { // a pipe takes 64 KiB; each event in its own place may say 20 lines a second
        os::log(os::Level::info, i % 3 == 0 ? "fill" : i % 3 == 1 ? "fill again" : "fill once more", {{"x", filler}});
    }
    const std::uint64_t lost = os::dropped_log_lines() - before;
    CHECK(lost > 0);
    while (!log.text().empty()) {
    }
    os::log(os::Level::info, "again");
    CHECK(log.text().find("lines_lost_before=" + std::to_string(lost)) != std::string::npos);
}

TEST_CASE("one event says so many lines a second, and then how many it held back")
{
    const Captured log;
    const std::uint64_t before = os::dropped_log_lines();
    for (unsigned i = 0; i < os::kMostPerSecond + 30; ++i) {
        os::log(os::Level::info, "often");
    }
    os::log(os::Level::info, "another");
    const std::uint64_t held_back = os::dropped_log_lines() - before;
    CHECK(held_back > 0); // less than 30 if a second ended in between
    CHECK(held_back <= 30);
    CHECK(log.text().find("event=\"another\"") != std::string::npos);
}
