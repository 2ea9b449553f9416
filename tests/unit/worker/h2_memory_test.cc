// SPDX-License-Identifier: Apache-2.0
#include "worker/client/h2_memory.h"

#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

using namespace ladle;
using namespace ladle::worker;

namespace {

constexpr loop::Nanos kH2Second = 1'000'000'000;

} // namespace

TEST_CASE("h2 memory: what is made at the beginning rests with what stands in it; what comes later does not")
{
    H2Memory memory;
    const nghttp2_mem functions = memory.functions();
    std::vector<char*> pieces;
    for (const std::size_t size : {0, 1, 17, 3000, 16394, 16394, 100}) { // the second large one finds no room
        pieces.push_back(static_cast<char*>(functions.malloc(size, functions.mem_user_data)));
        REQUIRE(pieces.back() != nullptr);
        std::memset(pieces.back(), 'a' + static_cast<int>(pieces.size()), size);
    }
    auto* zeros = static_cast<char*>(functions.calloc(10, 100, functions.mem_user_data));
    CHECK(std::string(zeros, 1000) == std::string(1000, '\0'));
    memory.may_rest();
    auto* later = static_cast<char*>(functions.malloc(5, functions.mem_user_data));
    std::memcpy(later, "later", 5);
    Resting::rest_unused(100 * kH2Second);
    Resting::rest_unused(102 * kH2Second);
    Resting::rest_unused(104 * kH2Second);
    CHECK(std::string(later, 5) == "later");
    memory.use();
    CHECK(std::string(pieces[3], 3000) == std::string(3000, 'e'));
    CHECK(std::string(pieces[4], 16394) == std::string(16394, 'f'));
    CHECK(std::string(pieces[5], 16394) == std::string(16394, 'g'));
    auto* moved = static_cast<char*>(functions.realloc(pieces[3], 6000, functions.mem_user_data));
    CHECK(std::string(moved, 3000) == std::string(3000, 'e'));
    functions.free(moved, functions.mem_user_data);
    functions.free(later, functions.mem_user_data);
    functions.free(zeros, functions.mem_user_data);
    for (char* piece : {pieces[0], pieces[1], pieces[2], pieces[4], pieces[5], pieces[6]}) {
        functions.free(piece, functions.mem_user_data);
    }
}

TEST_CASE("h2 memory: a slot that had another session is zero where that is promised")
{
    for (int round = 0; round < 3; ++round) {
        H2Memory memory;
        const nghttp2_mem functions = memory.functions();
        auto* zeros = static_cast<char*>(functions.calloc(1, 4096, functions.mem_user_data));
        CHECK(std::string(zeros, 4096) == std::string(4096, '\0'));
        std::memset(zeros, 'x', 4096);
        functions.free(zeros, functions.mem_user_data);
    }
}
