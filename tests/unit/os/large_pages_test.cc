// SPDX-License-Identifier: Apache-2.0
#include "common/os/large_pages.h"

#include "common/shm/cache_arena.h"

#include <doctest/doctest.h>

#include <sys/stat.h>

#include <cstring>
#include <string>

using namespace ladle;

namespace {

std::int64_t bytes_in_use(int fd)
{
    struct stat status {};
    REQUIRE(::fstat(fd, &status) == 0);
    return status.st_blocks * 512;
}

} // namespace

TEST_CASE("large pages: gathered where all is in use, with what is in them; nothing is taken that was not")
{
    const auto arena = shm::CacheArena::make({16u << 20, 0, 42});
    REQUIRE(arena);
    std::byte* const begin = arena->base() + 2 * os::kLargePage;
    const std::int64_t before = bytes_in_use(arena->fd());
    CHECK_FALSE(os::gather_large_page(begin));
    CHECK(bytes_in_use(arena->fd()) == before);
    for (std::size_t i = 0; i < os::kLargePage; ++i) {
        begin[i] = static_cast<std::byte>(i * 2654435761u >> 24);
    }
    const std::int64_t used = bytes_in_use(arena->fd());
    const bool is_gathered = os::gather_large_page(begin);
    CHECK((!is_gathered || os::can_gather_pages()));
    CHECK(bytes_in_use(arena->fd()) == used);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < os::kLargePage; ++i) {
        wrong += begin[i] != static_cast<std::byte>(i * 2654435761u >> 24);
    }
    CHECK(wrong == 0);
}
