// SPDX-License-Identifier: Apache-2.0
#include "worker/net/blocks.h"

#include <doctest/doctest.h>

#include "tests/unit/worker/bytes.h"

#include <algorithm>
#include <random>

using namespace ladle::worker;
using ladle::test::bytes_of;
using ladle::test::make_bytes;

namespace {

/// One random step on a chain and on the string that says what it must hold.
void step_at_random(std::mt19937& random, Chain& chain, std::string& expected, std::uint64_t& written)
{
    const std::size_t n = random() % 5 == 0 ? random() % 40'000 : random() % 600;
    switch (random() % 7) {
    case 0:
    case 1: {
        const std::string text = make_bytes(written, n);
        chain.append_copy(text);
        expected += text;
        break;
    }
    case 2: {
        const auto [at, size] = chain.room(std::max<std::size_t>(n, 1));
        REQUIRE(size >= n);
        const std::string text = make_bytes(written, n);
        std::copy(text.begin(), text.end(), at);
        chain.filled(n);
        expected += text;
        break;
    }
    case 3: {
        Chain other;
        const std::string text = make_bytes(written, n);
        other.append_copy(text);
        chain.append(std::move(other));
        expected += text;
        break;
    }
    case 4: {
        BlockRef block = BlockRef::make(n);
        const std::string text = make_bytes(written, n);
        std::copy(text.begin(), text.end(), block->data);
        chain.append_part(block, std::string_view(block->data, n));
        expected += text;
        break;
    }
    case 5: {
        Chain out;
        const std::size_t moved = chain.move_to(out, n);
        CHECK(moved == std::min(n, expected.size()));
        CHECK(bytes_of(out) == expected.substr(0, moved));
        expected.erase(0, moved);
        break;
    }
    default: {
        const std::size_t part = std::min(n, expected.size());
        chain.consume(part);
        expected.erase(0, part);
        break;
    }
    }
    written += n;
}

} // namespace

TEST_CASE("a chain holds what a string would, whatever is done to it")
{
    for (unsigned seed = 0; seed < 20; ++seed) {
        std::mt19937 random(seed);
        Chain chain;
        std::string expected;
        std::uint64_t written = 0;
        for (int i = 0; i < 300; ++i) {
            step_at_random(random, chain, expected, written);
            REQUIRE(chain.bytes() == expected.size());
            CHECK(chain.empty() == expected.empty());
        }
        CHECK(bytes_of(chain) == expected);
        const std::size_t from = expected.empty() ? 0 : random() % expected.size();
        Chain shared;
        CHECK(chain.share_to(shared, from, 5000) == std::min<std::size_t>(5000, expected.size() - from));
        CHECK(bytes_of(shared) == expected.substr(from, 5000));
    }
}

TEST_CASE("what is shared stays when its first holder goes")
{
    Chain shared;
    {
        Chain chain;
        chain.append_copy("hello, world");
        chain.share_to(shared, 7, 5);
    }
    CHECK(bytes_of(shared) == "world");
}

TEST_CASE("a chain that was taken from reads on into the same block")
{
    Chain from;
    Chain to;
    for (int i = 0; i < 100; ++i) {
        const auto [at, size] = from.room(1);
        REQUIRE(size >= 1);
        *at = 'x';
        from.filled(1);
        to.append(std::move(from));
        CHECK(from.empty());
    }
    iovec vectors[4];
    CHECK(to.vectors(vectors, 4) == 1);
    CHECK(bytes_of(to) == std::string(100, 'x'));
}

TEST_CASE("a block counts its holders")
{
    BlockRef a = BlockRef::make();
    CHECK(a->references == 1);
    {
        const BlockRef b = a;
        CHECK(a->references == 2);
        CHECK(b == a);
    }
    CHECK(a->references == 1);
    BlockRef c = std::move(a);
    CHECK(c->references == 1);
    CHECK_FALSE(a);
    CHECK(BlockRef::make(100'000)->capacity >= 100'000);
}
