// SPDX-License-Identifier: Apache-2.0
#include "common/os/memory_file.h"

#include <doctest/doctest.h>

#include <unistd.h>

using namespace ladle;

TEST_CASE("a sealed file can be read and by nobody changed")
{
    const auto file = os::make_sealed_file("test", "hello");
    REQUIRE(file);
    CHECK(os::read_whole(file->get(), 100).value() == "hello");
    CHECK(::write(file->get(), "x", 1) < 0);
    CHECK(::ftruncate(file->get(), 0) < 0);
    CHECK_FALSE(os::read_whole(file->get(), 4));
}

TEST_CASE("a shared file keeps its size")
{
    const auto file = os::make_shared_file("test", 8192);
    REQUIRE(file);
    CHECK(::ftruncate(file->get(), 4096) < 0);
    CHECK(::ftruncate(file->get(), 16384) < 0);
    CHECK(::pwrite(file->get(), "x", 1, 0) == 1);
}
