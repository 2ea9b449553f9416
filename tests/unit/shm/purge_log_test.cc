// SPDX-License-Identifier: Apache-2.0
#include "common/shm/purge_log.h"
#include "tests/unit/scratch_folder.h"
#include "tests/unit/shm/cache_testing.h"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

using namespace cache_testing;
using shm::PurgeKind;
using shm::PurgeState;

namespace {

/// Purges in one life, with the line in the log.
void purge(const test::ScratchFolder& folder, shm::PurgeTable& table, shm::PurgeSubject subject, const std::string& text,
           PurgeKind kind)
{
    REQUIRE((subject == shm::PurgeSubject::url ? table.purge_url(text, kind) : table.purge_tag(text, kind)));
    REQUIRE(shm::append_purge(folder.fd.get(), shm::to_line({table.epoch(), subject, kind, text}), false) == 0);
}

/// The table of the next life, after a crash; nothing where the folder is not believed.
std::optional<std::uint64_t> restore(const test::ScratchFolder& folder, shm::PurgeTable& next)
{
    const auto base = shm::read_purge_base(folder.fd.get());
    if (!base || base->seed != 42 || !shm::restore_purges(folder.fd.get(), *base, next)) {
        return std::nullopt;
    }
    return next.epoch();
}

} // namespace

TEST_CASE("a line of the purge log comes back, and no damaged one does")
{
    const shm::LoggedPurge purge{17, shm::PurgeSubject::prefix, PurgeKind::soft, "http://a.test/x y%\n\xff"};
    const std::string line = shm::to_line(purge);
    CHECK(line.find('\n') == line.size() - 1);
    const auto parsed = shm::parse_purge_line(std::string_view(line).substr(0, line.size() - 1));
    REQUIRE(parsed);
    CHECK(parsed->epoch == 17);
    CHECK(parsed->subject == purge.subject);
    CHECK(parsed->kind == purge.kind);
    CHECK(parsed->text == purge.text);
    for (std::size_t i = 0; i + 1 < line.size(); ++i) {
        std::string damaged = line.substr(0, line.size() - 1);
        damaged[i] = static_cast<char>(damaged[i] ^ 1);
        CHECK_FALSE(shm::parse_purge_line(damaged));
        CHECK_FALSE(shm::parse_purge_line(std::string_view(line).substr(0, i)));
    }
}

TEST_CASE("purges are in force again after a crash, and spare what was fetched after them")
{
    test::ScratchFolder folder;
    auto arena = make_arena(8);
    shm::PurgeTable table(arena, 0);
    REQUIRE(table.purge_url("http://a/before", PurgeKind::hard));
    REQUIRE(shm::write_purge_base(folder.fd.get(), table, 42, 1) == 0);
    const std::uint64_t fetched = table.epoch();
    purge(folder, table, shm::PurgeSubject::url, "http://a/1", PurgeKind::hard);
    purge(folder, table, shm::PurgeSubject::tag, "news", PurgeKind::soft);
    const std::uint64_t later = table.epoch();

    auto next_arena = make_arena(8);
    shm::PurgeTable next(next_arena, 0);
    REQUIRE(restore(folder, next).value_or(0) > later + 1000);
    CHECK(next.state("http://a/before", {}, 1) == PurgeState::hard);
    CHECK(next.state("http://a/before", {}, fetched) == PurgeState::none);
    CHECK(next.state("http://a/1", {}, fetched) == PurgeState::hard);
    CHECK(next.state("http://a/1", {}, later) == PurgeState::none);
    CHECK(next.state("http://a/2", {}, fetched) == PurgeState::none);
    const std::uint64_t tag[] = {next.tag_subject("news")};
    CHECK(next.state("http://a/2", tag, fetched) == PurgeState::soft);
    // What a life counted without logging is below everything of the next.
    CHECK(next.epoch() > later);
    REQUIRE(next.purge_url("http://a/3", PurgeKind::hard));
    CHECK(next.state("http://a/3", {}, later + 1000) == PurgeState::hard);
}

TEST_CASE("a purge log that is not whole is not believed; a line that was being written is no loss")
{
    test::ScratchFolder folder;
    auto arena = make_arena(8);
    shm::PurgeTable table(arena, 0);
    REQUIRE(shm::write_purge_base(folder.fd.get(), table, 42, 1) == 0);
    purge(folder, table, shm::PurgeSubject::url, "http://a/1", PurgeKind::hard);
    purge(folder, table, shm::PurgeSubject::url, "http://a/2", PurgeKind::hard);
    const std::string log = folder.path + "/purges.log";
    std::ifstream in(log, std::ios::binary);
    const std::string whole{std::istreambuf_iterator<char>(in), {}};
    const auto is_believed = [&](const std::string& content) {
        std::ofstream(log, std::ios::binary | std::ios::trunc) << content;
        auto next_arena = make_arena(8);
        shm::PurgeTable next(next_arena, 0);
        return restore(folder, next).has_value();
    };
    CHECK(is_believed(whole));
    CHECK(is_believed(whole.substr(0, whole.size() - 5)));
    std::string damaged = whole;
    damaged[3] = static_cast<char>(damaged[3] ^ 1);
    CHECK_FALSE(is_believed(damaged));
    std::filesystem::remove(log);
    auto next_arena = make_arena(8);
    shm::PurgeTable next(next_arena, 0);
    CHECK_FALSE(restore(folder, next));
}

TEST_CASE("a log begun anew loses no purge, wherever it is interrupted")
{
    test::ScratchFolder folder;
    auto arena = make_arena(8);
    shm::PurgeTable table(arena, 0);
    REQUIRE(shm::write_purge_base(folder.fd.get(), table, 42, 1) == 0);
    purge(folder, table, shm::PurgeSubject::url, "http://a/1", PurgeKind::hard);
    CHECK(shm::purge_log_bytes(folder.fd.get()) > 20);
    std::filesystem::copy(folder.path + "/purges.base", folder.path + "/before");
    std::filesystem::copy(folder.path + "/purges.log", folder.path + "/log.before");
    REQUIRE(shm::write_purge_base(folder.fd.get(), table, 42, 1) == 0);
    CHECK(shm::purge_log_bytes(folder.fd.get()) == 0);
    purge(folder, table, shm::PurgeSubject::url, "http://a/2", PurgeKind::hard);
    const auto knows_both = [&] {
        auto next_arena = make_arena(8);
        shm::PurgeTable next(next_arena, 0);
        return restore(folder, next) && next.state("http://a/1", {}, 1) == PurgeState::hard &&
               next.state("http://a/2", {}, 1) == PurgeState::hard;
    };
    CHECK(knows_both());
    // Between the new log and the new base.
    std::filesystem::rename(folder.path + "/log.before", folder.path + "/purges.old");
    std::filesystem::rename(folder.path + "/before", folder.path + "/purges.base");
    CHECK(knows_both());
    std::filesystem::rename(folder.path + "/purges.old", folder.path + "/elsewhere");
    CHECK_FALSE(knows_both());
    std::filesystem::rename(folder.path + "/elsewhere", folder.path + "/purges.old");
    // Who goes on from there loses nothing either, nor what is purged while it does so.
    REQUIRE(shm::write_purge_base(folder.fd.get(), table, 42, 1) == 0);
    CHECK(knows_both());
    CHECK(shm::purge_log_bytes(folder.fd.get()) == 0);
    CHECK_FALSE(std::filesystem::exists(folder.path + "/purges.old"));
}

TEST_CASE("whoever cannot append takes the base away")
{
    test::ScratchFolder folder;
    auto arena = make_arena(8);
    shm::PurgeTable table(arena, 0);
    REQUIRE(shm::write_purge_base(folder.fd.get(), table, 42, 1) == 0);
    REQUIRE(shm::read_purge_base(folder.fd.get()));
    std::filesystem::remove(folder.path + "/purges.log");
    REQUIRE(table.purge_url("http://a/1", PurgeKind::hard));
    CHECK(shm::append_purge(folder.fd.get(), "x\n", false) != 0);
    CHECK_FALSE(shm::has_purge_base(folder.fd.get()));
    // A new one knows what could not be appended, whatever lies there of the logs before.
    std::ofstream(folder.path + "/purges.old") << "no log";
    REQUIRE(shm::write_purge_base(folder.fd.get(), table, 42, 1) == 0);
    purge(folder, table, shm::PurgeSubject::url, "http://a/2", PurgeKind::hard);
    auto next_arena = make_arena(8);
    shm::PurgeTable next(next_arena, 0);
    REQUIRE(restore(folder, next));
    CHECK(next.state("http://a/1", {}, 1) == PurgeState::hard);
    CHECK(next.state("http://a/2", {}, 1) == PurgeState::hard);
}

TEST_CASE("no damaged purge base is read")
{
    const std::string whole = shm::make_purge_base({1, 2, "table"});
    REQUIRE(shm::parse_purge_base(whole));
    for (std::size_t i = 0; i < whole.size(); ++i) {
        std::string damaged = whole;
        damaged[i] = static_cast<char>(damaged[i] ^ 16);
        CHECK_FALSE(shm::parse_purge_base(damaged));
        CHECK_FALSE(shm::parse_purge_base(std::string_view(whole).substr(0, i)));
    }
}
