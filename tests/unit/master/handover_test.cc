// SPDX-License-Identifier: Apache-2.0
#include "common/os/memory_file.h"
#include "master/handover.h"

#include <doctest/doctest.h>

#include <algorithm>

using namespace ladle;
using master::Handover;

TEST_CASE("a handover is read as it was written")
{
    Handover before;
    before.from_version = "0.1.0";
    before.generation = 3;
    before.bundle = 11;
    before.arena = 12;
    before.control_socket = 13;
    before.control_lock = 14;
    before.started_at = 1'700'000'000;
    before.restarts = 5;
    before.listeners = {{"0.0.0.0:80", {20, 21}}, {"unix:/run/x.sock", {22}}};
    before.children = {{100, shm::Role::worker, 1, 3, 7, 7, true, true, 30},
                       {101, shm::Role::caretaker, 0, 3, -1, 8, false, false, 31}};
    before.cache = {40, 5, 41, "/dev/shm/ladle-0", {42, 43}};
    const auto file = master::write_handover(before);
    REQUIRE(file);
    const auto after = master::read_handover(file->get());
    REQUIRE(after);
    CHECK(after->from_version == "0.1.0");
    CHECK(after->generation == 3);
    CHECK(after->asking == -1);
    CHECK(after->restarts == 5);
    REQUIRE(after->listeners.size() == 2);
    CHECK(after->listeners[0].slots == std::vector<int>{20, 21});
    REQUIRE(after->children.size() == 2);
    CHECK(after->children[0].pid == 100);
    CHECK(after->children[0].role == shm::Role::worker);
    CHECK(after->children[0].is_draining);
    CHECK(after->children[0].cache_row == 7);
    CHECK(after->children[1].row == -1);
    CHECK(after->children[1].cache_row == 8);
    CHECK(after->cache.row == 5);
    CHECK(after->cache.folder == "/dev/shm/ladle-0");
    CHECK(after->cache.bells == std::vector<int>{42, 43});
    CHECK(after->children[1].channel == 31);
    std::vector<int> all = master::descriptors_of(*after);
    std::sort(all.begin(), all.end());
    CHECK(all == std::vector<int>{11, 12, 13, 14, 20, 21, 22, 30, 31, 40, 41, 42, 43});
}

TEST_CASE("a handover of a version without a cache names none")
{
    const auto file = os::make_sealed_file("test", R"({"version":1,"children":[{"pid":7,"row":3}]})");
    REQUIRE(file);
    const auto handover = master::read_handover(file->get());
    REQUIRE(handover);
    CHECK(handover->cache.arena == -1);
    CHECK(handover->cache.bells.empty());
    CHECK(handover->children.at(0).row == 3);
    CHECK(handover->children.at(0).cache_row == -1);
}

TEST_CASE("a handover of another version, or none, is refused")
{
    for (const char* text : {R"({"version":999})", "not json", "[]", "{}"}) {
        const auto file = os::make_sealed_file("test", text);
        REQUIRE(file);
        CHECK_FALSE(master::read_handover(file->get()));
    }
}
