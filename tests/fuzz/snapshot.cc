// SPDX-License-Identifier: Apache-2.0
// Snapshots of the disk tier's index: a real one with bytes changed, cut or added is refused, and unchanged it is loaded; any other
// bytes are refused.
#include "common/os/fd.h"
#include "common/shm/cache_snapshot.h"
#include "common/shm/cache_store.h"
#include "tests/fuzz/require.h"

#include <sys/mman.h>
#include <unistd.h>

#include <string>

using namespace ladle;

namespace {

constexpr shm::CacheOptions kOptions{shm::kMinCacheBytes, std::uint64_t{1} << 30, 42};

bool is_loaded(std::string_view content)
{
    const os::Fd file(::memfd_create("snapshot", MFD_CLOEXEC));
    REQUIRE(::write(file.get(), content.data(), content.size()) == static_cast<ssize_t>(content.size()));
    ::lseek(file.get(), 0, SEEK_SET);
    return shm::load_cache(file.get(), kOptions).has_value();
}

std::string make_snapshot()
{
    auto arena = shm::CacheArena::make(kOptions);
    const os::Fd file(::memfd_create("snapshot", MFD_CLOEXEC));
    REQUIRE(arena && shm::save_cache(*arena, file.get()));
    std::string content(static_cast<std::size_t>(::lseek(file.get(), 0, SEEK_END)), '\0');
    REQUIRE(::pread(file.get(), content.data(), content.size(), 0) == static_cast<ssize_t>(content.size()));
    return content;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    static const std::string kWhole = make_snapshot();
    const std::string_view input = text_of(bytes, size);
    std::string changed = kWhole;
    // Four bytes say where and how: place (3), change (1).
    for (std::size_t at = 0; at + 4 <= input.size() && at < 32; at += 4) {
        const auto number = static_cast<std::size_t>(bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16);
        const std::size_t place = number % changed.size();
        changed[place] = static_cast<char>(changed[place] ^ bytes[at + 3]);
    }
    REQUIRE(is_loaded(changed) == (changed == kWhole));
    REQUIRE(!is_loaded(std::string_view(kWhole).substr(0, size % kWhole.size())));
    REQUIRE(!is_loaded(input));
    return 0;
}
