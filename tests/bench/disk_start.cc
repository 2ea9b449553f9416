// SPDX-License-Identifier: Apache-2.0
//
// For the disk tier's start: makes a folder with an index of so many objects, as a clean stop of a tier of 32GiB leaves it. The
// files of the first thousand are really there.
//
//   disk-start FOLDER OBJECTS URL-PREFIX [BYTES]      ("http://site.test:8080/": then /0 … /999 are to be had)
#include "common/http/stored_meta.h"
#include "common/loop/loop.h"
#include "common/shm/disk_files.h"
#include "master/disk_owner.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <span>
#include <string>

using namespace ladle;

namespace {

constexpr std::uint64_t kReal = 1000;
constexpr std::uint64_t kDiskBytes = std::uint64_t{32} << 30;

double ms_since(loop::Nanos begin)
{
    return static_cast<double>(loop::clock_now() - begin) / 1e6;
}

/// One file as a worker writes it, of `bytes` of body.
bool write_object(int folder, shm::CacheStore& index, std::uint64_t seed, std::uint64_t number, const std::string& url,
                  std::size_t bytes)
{
    const std::int64_t now_ms = std::int64_t{std::time(nullptr)} * 1000;
    http::StoredMeta meta;
    meta.freshness.status = 200;
    meta.freshness.born_ms = meta.request_ms = meta.response_ms = now_ms;
    meta.freshness.lifetime_s = 86400;
    std::string body(bytes, static_cast<char>('a' + number % 26));
    shm::DiskObject object;
    object.number = number;
    object.seed = seed;
    object.hash = index.name(url).hash;
    object.epoch = 1;
    object.stored_ms = now_ms;
    object.body_bytes = body.size();
    const http::PackedMeta packed = meta.pack();
    object.meta = {reinterpret_cast<const char*>(packed.bytes().data()), packed.bytes().size()};
    object.url = url;
    object.head = "Content-Type: text/plain\r\n";
    shm::DiskBody source;
    source.memory = {{body.data(), body.size()}};
    const std::atomic<bool> go_on{false};
    return shm::write_disk_file(folder, object, source, go_on) == 0;
}

} // namespace

int main(int argc, char** argv)
{
    if (argc < 4) {
        std::fprintf(stderr, "disk_start FOLDER OBJECTS URL-PREFIX [BYTES]\n");
        return 2;
    }
    const std::string folder = argv[1];
    const std::uint64_t objects = std::strtoull(argv[2], nullptr, 10);
    const std::string prefix = argv[3];
    const std::size_t bytes = argc > 4 ? std::strtoull(argv[4], nullptr, 10) : 1024;
    const config::Disk settings{folder, kDiskBytes, true};
    {
        master::DiskOwner owner;
        owner.open(settings, {});
        if (!owner.exists()) {
            std::fprintf(stderr, "no tier in %s\n", folder.c_str());
            return 1;
        }
        auto memory = shm::CacheArena::make({shm::kMinCacheBytes, 0, owner.seed()});
        shm::PurgeTable purges(*memory, 1);
        owner.use_row(1, purges);
        const os::Fd files(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        const std::uint64_t first = memory ? owner.store()->arena().header().next_file.load() : 0;
        std::uint64_t taken = 0;
        for (std::uint64_t i = 0; i < objects; ++i) {
            const std::string url = fmt::format("{}{}", prefix, i);
            if (i < kReal && !write_object(files.get(), *owner.store(), owner.seed(), first + i, url, bytes)) {
                return 1;
            }
            char name[16];
            shm::CacheObject entry;
            entry.name = shm::CacheStore::name_by_hash(owner.store()->name(url).hash, name);
            http::StoredFreshness freshness;
            freshness.status = 200;
            freshness.born_ms = std::int64_t{std::time(nullptr)} * 1000;
            freshness.lifetime_s = 86400;
            entry.meta = std::as_bytes(std::span(&freshness, 1));
            entry.epoch = 1;
            entry.body_bytes = bytes + 400;
            entry.in_file = true;
            taken += owner.store()->adopt_file(entry, first + i) ? 1 : 0;
        }
        owner.store()->arena().header().unread_below.store(0); // what the caretaker does when it has read the folder
        const shm::CacheCounts counts = owner.store()->counts();
        std::printf("%llu objects in the index, %.0f MB of memory, %.0f B each\n", static_cast<unsigned long long>(taken),
                    static_cast<double>(counts.table_bytes + counts.cell_bytes) / 1e6,
                    static_cast<double>(counts.table_bytes + counts.cell_bytes) / static_cast<double>(taken));
        const loop::Nanos begin = loop::clock_now();
        owner.save(purges);
        std::printf("saved in %.0f ms\n", ms_since(begin));
    }
    return 0;
}
