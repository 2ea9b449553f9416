// SPDX-License-Identifier: Apache-2.0
//
// Bench of the cache's store: how much memory a million objects of 1 KB take, and what a lookup with its pin costs.
//
//   cache-lookup [OBJECTS] [MIB]      (default 1 000 000 objects with 1 KiB of body and 200 B of key and head, 1434 MiB = 1.4 GiB)
//   SINGLE_PAGES=1 cache-lookup …     without large pages
#include "common/http/stored_meta.h"
#include "common/os/large_pages.h"
#include "common/shm/cache_store.h"

#include <fmt/format.h>

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

using namespace ladle;

namespace {

constexpr std::size_t kLookups = 4'000'000;

std::string url_of(std::uint64_t number)
{
    return fmt::format("http://www.example.com/images/{:012}.html", number);
}

double now_s()
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::vector<std::uint32_t> make_trace(double alpha, std::uint32_t objects, std::uint64_t seed)
{
    std::vector<double> sums(objects);
    double sum = 0;
    for (std::uint32_t i = 0; i < objects; ++i) {
        sums[i] = sum += 1 / std::pow(i + 1, alpha);
    }
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<double> uniform(0, sum);
    std::vector<std::uint32_t> trace(kLookups);
    for (auto& key : trace) {
        // Popularity has nothing to do with the order of storing.
        key = static_cast<std::uint32_t>((std::lower_bound(sums.begin(), sums.end(), uniform(random)) - sums.begin()) * 7919u %
                                         objects);
    }
    return trace;
}

struct Figures {
    std::atomic<double> ns[2];
    std::atomic<std::uint64_t> misses;
    std::atomic<std::uint64_t> locks;
    std::atomic<std::uint32_t> ready;
};

/// A request as a worker has it when it looks up: the URL just parsed and hashed, near at hand.
struct Request {
    char url[48];
    std::uint32_t url_bytes;
    shm::CacheHash hash;
};

void look_up(shm::CacheArena& arena, std::uint32_t row, std::uint32_t objects, double alpha, std::uint32_t processes,
             Figures& figures)
{
    shm::CacheStore store(arena, row);
    std::vector<Request> requests(kLookups);
    std::size_t at = 0;
    for (const std::uint32_t key : make_trace(alpha, objects, row)) {
        const std::string url = url_of(key);
        Request& request = requests[at++];
        request.url_bytes = static_cast<std::uint32_t>(url.copy(request.url, sizeof request.url));
        request.hash = store.name(url).hash;
    }
    const std::uint64_t locks = store.locks_taken();
    std::uint64_t misses = 0;
    figures.ready.fetch_add(1);
    while (figures.ready.load() < processes) {
    }
    double start = 0;
    for (const int turn : {0, 1}) { // the first one maps the pages
        start = now_s();
        for (const Request& request : requests) {
            misses += !store.find({{request.url, request.url_bytes}, {}, request.hash}).view;
        }
        if (turn == 0) {
            figures.ready.fetch_add(1);
            while (figures.ready.load() < 2 * processes) {
            }
        }
    }
    figures.ns[row - 1] = (now_s() - start) * 1e9 / static_cast<double>(requests.size());
    figures.misses += misses;
    figures.locks += store.locks_taken() - locks;
}

/// Each process on its own trace; both look at the same objects.
void bench_lookup(shm::CacheArena& arena, std::uint32_t objects, double alpha, std::uint32_t processes)
{
    auto* figures =
        static_cast<Figures*>(::mmap(nullptr, sizeof(Figures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    for (std::uint32_t row = 1; row <= processes; ++row) {
        if (::fork() == 0) {
            look_up(arena, row, objects, alpha, processes, *figures);
            ::_exit(0);
        }
    }
    while (::wait(nullptr) > 0) {
    }
    const double worst = std::max(figures->ns[0].load(), figures->ns[1].load());
    fmt::print("lookup + pin + unpin, Zipf {:.1f}, {} process{}: {:.0f} ns, {} misses, {} locks\n", alpha, processes,
               processes == 1 ? "" : "es", worst, figures->misses.load(), figures->locks.load());
    ::munmap(figures, sizeof(Figures));
}

/// For scale: one load of a random cell of the arena, each address known only when the one before has been read.
void bench_memory(const shm::CacheArena& arena)
{
    const shm::CacheStripe& stripe = arena.stripe(0);
    const auto* const cells = reinterpret_cast<const std::byte*>(&stripe) + stripe.cells_offset;
    std::uint64_t state = 1;
    const double start = now_s();
    for (std::size_t i = 0; i < kLookups; ++i) {
        const std::uint64_t read =
            *reinterpret_cast<const volatile std::uint64_t*>(cells + (state >> 33) % stripe.cell_count * shm::kCellBytes);
        state = (state + (read & 1)) * 6364136223846793005u + 1442695040888963407u;
    }
    fmt::print("one dependent load from a random cell: {:.0f} ns\n", (now_s() - start) * 1e9 / static_cast<double>(kLookups));
}

/// What no store could be below: for each lookup one load from the record of its object, where the address is known.
void bench_floor(shm::CacheArena& arena, std::uint32_t objects, double alpha)
{
    shm::CacheStore store(arena, 1);
    std::vector<const char*> places;
    for (const std::uint32_t key : make_trace(alpha, objects, 1)) {
        const std::string url = url_of(key);
        const auto found = store.find(store.name(url));
        places.push_back(found.view ? found.view.url().data() : "");
    }
    double seconds = 0;
    for ([[maybe_unused]] const int turn : {0, 1}) {
        std::uint64_t at = 0;
        const double start = now_s();
        for (std::size_t i = 0; i < places.size(); ++i) {
            at += 1 + (static_cast<std::uint64_t>(*reinterpret_cast<const volatile char*>(places[at])) >> 8); // in turn
        }
        seconds = now_s() - start;
    }
    fmt::print("the floor: one load from the record of each, Zipf {:.1f}: {:.0f} ns\n", alpha,
               seconds * 1e9 / static_cast<double>(places.size()));
}

/// As the caretaker does while the cache fills (worker/caretaker/cache_sweep.cc).
void gather_pages(const shm::CacheArena& arena)
{
    std::size_t gathered = 0;
    const double start = now_s();
    for (std::size_t at = 0; at + os::kLargePage <= arena.bytes(); at += os::kLargePage) {
        gathered += os::gather_large_page(arena.base() + at);
    }
    fmt::print("{} of {} MiB gathered into large pages in {:.0f} ms\n", gathered * os::kLargePage >> 20, arena.bytes() >> 20,
               (now_s() - start) * 1e3);
}

} // namespace

int main(int argc, char** argv)
{
    const std::uint64_t objects = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000;
    const std::uint64_t mib = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1434;
    auto arena = shm::CacheArena::make({mib << 20, 0, 0});
    if (!arena) {
        fmt::print("{}\n", arena.error().detail);
        return 1;
    }
    shm::CacheStore store(*arena, 0);
    const std::string body(1024, 'b');
    http::StoredMeta meta;
    meta.freshness = {1'700'000'000'000, 3600, 0, 0, 0, 200};
    meta.request_ms = meta.response_ms = 1'700'000'000'000;
    const http::PackedMeta packed = meta.pack();
    const double start = now_s();
    for (std::uint64_t i = 0; i < objects; ++i) {
        const std::string url = url_of(i);
        const std::string head(200 - url.size(), 'h');
        shm::CacheObject object;
        object.name = store.name(url);
        object.meta = packed.bytes();
        object.head = head;
        if (auto stored = store.store(object, body); !stored) {
            fmt::print("object {} refused: {}\n", i, static_cast<int>(stored.error()));
            return 1;
        }
    }
    const double seconds = now_s() - start;
    struct stat st {};
    ::fstat(arena->fd(), &st);
    const auto counts = store.counts();
    fmt::print("{} objects of 1 KiB body, 200 B of key and head, {} B of meta: {} there, {} evicted, {:.0f} MiB of memory ({:.0f} "
               "B each), {:.1f} us to store\n",
               objects, packed.bytes().size(), counts.objects, counts.evictions, static_cast<double>(st.st_blocks) / 2048,
               static_cast<double>(st.st_blocks) * 512 / static_cast<double>(counts.objects),
               seconds * 1e6 / static_cast<double>(objects));
    bench_memory(*arena);
    if (::getenv("SINGLE_PAGES") == nullptr) {
        gather_pages(*arena);
        bench_memory(*arena);
    }
    for (const double alpha : {0.9, 1.0}) {
        bench_floor(*arena, static_cast<std::uint32_t>(objects), alpha);
        for (const std::uint32_t processes : {1u, 2u}) {
            bench_lookup(*arena, static_cast<std::uint32_t>(objects), alpha, processes);
        }
    }
    return counts.objects == objects ? 0 : 1;
}
