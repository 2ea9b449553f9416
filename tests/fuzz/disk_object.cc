// SPDX-License-Identifier: Apache-2.0
// Headers of the disk tier's files: any bytes, with a right hash or a wrong one, are read or refused without harm, and what was
// read can be written and read again.
#include "common/shm/disk_object.h"
#include "tests/fuzz/require.h"

#include <xxhash.h>

#include <string>

using namespace ladle::shm;

namespace {

void try_header(const std::string& bytes)
{
    DiskHeader header;
    if (!header.read(bytes)) {
        return;
    }
    const DiskObject& object = header.object();
    REQUIRE(header.bytes() == bytes.size());
    REQUIRE(disk_header_bytes(object) == bytes.size());
    REQUIRE(!header.is_block_good(disk_blocks_of(object.body_bytes), "x"));
    std::vector<std::uint64_t> blocks(disk_blocks_of(object.body_bytes));
    const std::string again = make_disk_header(object, blocks);
    REQUIRE(again.size() == bytes.size());
    DiskHeader second;
    REQUIRE(second.read(again));
    REQUIRE(second.object().url == object.url && second.object().head == object.head && second.object().tags == object.tags);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    std::string input(reinterpret_cast<const char*>(bytes), size);
    const std::uint64_t length = DiskHeader::header_bytes_of(input);
    REQUIRE(length <= kMostDiskHeaderBytes);
    try_header(input);
    // The hash would keep nearly all inputs out: give them a right one, and the length that they say.
    if (length >= kDiskPrefixBytes + 8 && length <= std::size_t{1} << 20) {
        input.resize(length);
        const std::uint64_t hash = XXH3_64bits(input.data(), length - 8);
        input.replace(length - 8, 8, reinterpret_cast<const char*>(&hash), 8);
        try_header(input);
    }
    return 0;
}
