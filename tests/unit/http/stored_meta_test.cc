// SPDX-License-Identifier: Apache-2.0
#include "common/http/stored_meta.h"

#include <doctest/doctest.h>

#include <limits>
#include <random>
#include <vector>

using namespace ladle::http;

namespace {

bool is_same(const StoredMeta& a, const StoredMeta& b)
{
    return a.freshness.born_ms == b.freshness.born_ms && a.freshness.lifetime_s == b.freshness.lifetime_s &&
           a.freshness.stale_while_revalidate_s == b.freshness.stale_while_revalidate_s &&
           a.freshness.stale_if_error_s == b.freshness.stale_if_error_s && a.freshness.flags == b.freshness.flags &&
           a.freshness.status == b.freshness.status && a.request_ms == b.request_ms && a.response_ms == b.response_ms &&
           a.part_first == b.part_first && a.part_total == b.part_total && a.source == b.source;
}

} // namespace

TEST_CASE("stored meta: what is packed is read again, whichever parts it has")
{
    std::mt19937_64 random(1);
    for (int i = 0; i < 2000; ++i) {
        StoredMeta meta;
        meta.freshness.born_ms = static_cast<std::int64_t>(random());
        meta.freshness.lifetime_s = static_cast<std::uint32_t>(random());
        meta.freshness.flags = random() & 0x7f;
        meta.freshness.status = static_cast<std::uint16_t>(random() % 600);
        meta.request_ms = static_cast<std::int64_t>(random() % (std::uint64_t{1} << 50));
        meta.response_ms = meta.request_ms - 5000 + static_cast<std::int64_t>(random() % 100'000);
        meta.source = static_cast<LifetimeSource>(random() % 8);
        if (i % 2 != 0) {
            auto& seconds = i % 3 != 0 ? meta.freshness.stale_while_revalidate_s : meta.freshness.stale_if_error_s;
            seconds = static_cast<std::uint32_t>(random()) | 1;
        }
        if (i % 5 == 0) {
            meta.part_first = i % 10 == 0 ? 0 : random();
            meta.part_total = random() | 1;
        }
        const PackedMeta packed = meta.pack();
        CHECK(packed.bytes().size() == 28u + (i % 2 != 0 ? 8 : 0) + (i % 5 == 0 ? 16 : 0));
        CHECK(StoredMeta::is_whole(packed.bytes()));
        CHECK(is_same(StoredMeta::read(packed.bytes()), meta));
    }
}

TEST_CASE("stored meta: a clock that jumped between request and response gives no other time than it can say")
{
    StoredMeta meta;
    meta.request_ms = 0;
    meta.response_ms = std::numeric_limits<std::int64_t>::max();
    CHECK(StoredMeta::read(meta.pack().bytes()).response_ms == std::numeric_limits<std::int32_t>::max());
    meta.request_ms = 1'700'000'000'000;
    meta.response_ms = 0;
    CHECK(StoredMeta::read(meta.pack().bytes()).response_ms == meta.request_ms + std::numeric_limits<std::int32_t>::min());
}

TEST_CASE("stored meta: bytes of any other length are none, and never read beyond their end")
{
    StoredMeta meta;
    meta.freshness.status = 200;
    meta.freshness.stale_if_error_s = 7;
    meta.part_total = 9;
    const PackedMeta packed = meta.pack();
    for (std::size_t size = 0; size < packed.bytes().size(); ++size) {
        const std::vector<std::byte> cut(packed.bytes().begin(), packed.bytes().begin() + static_cast<std::ptrdiff_t>(size));
        CHECK_FALSE(StoredMeta::is_whole(cut));
        CHECK(StoredMeta::read(cut).freshness.status == 0);
    }
    std::vector<std::byte> longer(packed.bytes().begin(), packed.bytes().end());
    longer.push_back(std::byte{0});
    CHECK_FALSE(StoredMeta::is_whole(longer));
}
