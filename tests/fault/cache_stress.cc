// SPDX-License-Identifier: Apache-2.0
//
// Kills processes that use the cache's store, at random: `cache-stress KILLS [SEED]`. Some processes read, store, stream, purge,
// evict, freshen and remove, with bodies in memory and objects in files; the parent kills one with SIGKILL after a random time,
// repairs as the master does, checks that everything is whole, and starts another on the same row. Every body says its own hash,
// and its name, in its meta. Prints figures; exit code 0 only if no body was ever wrong, nothing was broken and nothing leaked.
#include "common/shm/cache_journal.h"
#include "common/shm/cache_store.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

using namespace ladle;

namespace {

constexpr std::uint32_t kWorkers = 3; ///< rows 1 … 3; the parent is row 0
constexpr std::uint64_t kKeys = 6000;
constexpr std::uint64_t kMemory = std::uint64_t{16} << 20;

struct Figures {
    std::atomic<std::uint64_t> reads;
    std::atomic<std::uint64_t> hits;
    std::atomic<std::uint64_t> stores;
    std::atomic<std::uint64_t> purges;
    std::atomic<std::uint64_t> wrong;
    std::atomic<std::uint64_t> purged_served;
};

struct Meta {
    std::uint64_t key;
    std::uint64_t bytes;
    std::uint64_t hash;
};

std::string url_of(std::uint64_t key)
{
    return fmt::format("http://www.example.com/{}/{}", key % 7, key);
}

std::uint64_t hash_of(const shm::CacheView& view)
{
    iovec pieces[shm::kMaxPieces];
    XXH3_state_t* state = XXH3_createState();
    XXH3_64bits_reset(state);
    const std::size_t count = view.body(0, view.filled(), pieces, shm::kMaxPieces);
    for (std::size_t i = 0; i < count; ++i) {
        XXH3_64bits_update(state, pieces[i].iov_base, pieces[i].iov_len);
    }
    const std::uint64_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash;
}

class Worker {
public:
    Worker(shm::CacheArena& arena, std::uint32_t row, std::uint64_t seed, Figures& figures)
        : store_(arena, row), random_(seed), figures_(figures)
    {
    }

    [[noreturn]] void run()
    {
        for (;;) {
            const std::uint64_t what = random_() % 100;
            const std::uint64_t key = random_() % kKeys * (random_() % kKeys) / kKeys; // some more popular than others
            if (what < 55) {
                read(key);
            } else if (what < 75) {
                put(key);
            } else if (what < 83) {
                stream(key);
            } else if (what < 88) {
                put_file(key);
            } else if (what < 91) {
                purge(key);
            } else if (what < 94) {
                freshen(key);
            } else if (what < 96) {
                remove(key);
            } else if (what < 98) {
                claim(key);
            } else {
                store_.sweep(500);
                bury_files();
            }
        }
    }

private:
    shm::CacheObject describe(std::uint64_t key, const std::string& url, const std::string& body)
    {
        meta_ = {key, body.size(), XXH3_64bits(body.data(), body.size())};
        shm::CacheObject object;
        object.name = store_.name(url);
        object.meta = std::as_bytes(std::span(&meta_, 1));
        object.epoch = store_.purges().epoch();
        tag_ = store_.purges().tag_subject(fmt::format("t{}", key % 50));
        object.tags = std::span(&tag_, 1);
        object.head =
            std::string_view("HTTP/1.1 200 OK\r\nX-Filler: 0123456789012345678901234567890123456789\r\n").substr(0, 17 + key % 40);
        object.body_bytes = body.size();
        return object;
    }

    std::string make_body()
    {
        std::string body(random_() % (random_() % 30 == 0 ? 60000 : 4000), '\0');
        std::uint64_t state = random_();
        for (std::size_t i = 0; i < body.size(); ++i) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            body[i] = static_cast<char>(state >> 33);
        }
        return body;
    }

    void read(std::uint64_t key)
    {
        const std::string url = url_of(key);
        figures_.reads.fetch_add(1, std::memory_order_relaxed);
        auto found = store_.find(store_.name(url));
        if (!found.view) {
            return;
        }
        figures_.hits.fetch_add(1, std::memory_order_relaxed);
        Meta meta{};
        std::memcpy(&meta, found.view.meta().data(), sizeof meta);
        const auto is_wrong = [&] {
            return found.view.url() != url || meta.key != key ||
                   (found.view.state() == shm::CacheState::complete && !found.view.is_in_file() &&
                    (found.view.filled() != meta.bytes || hash_of(found.view) != meta.hash));
        };
        bool wrong = is_wrong();
        if (random_() % 20 == 0) {
            ::usleep(200); // what is pinned stays as it is
            wrong = wrong || is_wrong();
        }
        figures_.wrong.fetch_add(wrong, std::memory_order_relaxed);
    }

    void put(std::uint64_t key)
    {
        const std::string body = make_body();
        const std::string url = url_of(key);
        figures_.stores.fetch_add(store_.store(describe(key, url, body), body).has_value(), std::memory_order_relaxed);
    }

    void stream(std::uint64_t key)
    {
        const std::string body = make_body();
        const std::string url = url_of(key);
        auto object = describe(key, url, body);
        if (random_() % 2 == 0) {
            object.body_bytes = shm::kBodyUnknown;
        }
        auto fill = store_.begin(object);
        if (!fill || !fill->publish()) {
            return;
        }
        const std::uint64_t cut_at = random_() % 5 == 0 ? body.size() / 2 : body.size();
        for (std::size_t at = 0; at < cut_at; at += 1500) {
            if (!fill->write(std::as_bytes(std::span(body)).subspan(at, std::min<std::size_t>(1500, body.size() - at)))) {
                return;
            }
        }
        if (cut_at == body.size()) {
            figures_.stores.fetch_add(fill->complete(), std::memory_order_relaxed);
        }
    }

    void put_file(std::uint64_t key)
    {
        const std::string url = url_of(key);
        auto object = describe(key, url, "");
        object.in_file = true;
        object.body_bytes = shm::kBodyUnknown;
        auto fill = store_.begin(object);
        if (fill && fill->publish() && fill->grow(100000 + random_() % 300000)) {
            fill->advance(100000);
            (void)fill->complete();
        }
        bury_files();
    }

    void bury_files()
    {
        for (int i = 0; i < 5; ++i) {
            if (auto dead = store_.next_dead_file()) {
                (void)store_.confirm(*dead);
            }
        }
    }

    void purge(std::uint64_t key)
    {
        const std::string url = url_of(key);
        const std::string tag = fmt::format("t{}", key % 50);
        const std::uint64_t what = random_() % 1000;
        const auto kind = what % 2 == 0 ? shm::PurgeKind::soft : shm::PurgeKind::hard;
        auto held = store_.peek(store_.name(url));
        bool is_purged = false;
        if (what < 950) {
            is_purged = store_.purges().purge_url(url, kind);
        } else if (what < 990) {
            is_purged = store_.purges().purge_tag(tag, kind);
        } else if (what < 999) {
            is_purged = store_.purges().purge_prefix(url.substr(0, 24 + key % 4), kind);
        } else {
            is_purged = store_.purges().purge_all(kind);
        }
        figures_.purges.fetch_add(1, std::memory_order_relaxed);
        // The same object may not be served any more; a newer one may.
        auto found = store_.find(store_.name(url));
        const bool is_same = held && found.view && found.view.ref() == held.ref();
        figures_.purged_served.fetch_add(is_purged && is_same && (kind == shm::PurgeKind::hard || !found.soft_purged),
                                         std::memory_order_relaxed);
    }

    void freshen(std::uint64_t key)
    {
        const std::string url = url_of(key);
        auto found = store_.find(store_.name(url));
        if (!found.view || found.view.state() != shm::CacheState::complete) {
            return;
        }
        auto object = describe(key, url, "");
        std::memcpy(&meta_, found.view.meta().data(), sizeof meta_);
        (void)store_.freshen(found.view, object);
    }

    void remove(std::uint64_t key)
    {
        const std::string url = url_of(key);
        if (auto view = store_.peek(store_.name(url))) {
            (void)store_.remove(view.ref());
        }
    }

    void claim(std::uint64_t key)
    {
        const auto name = store_.name(url_of(key % 10));
        const auto claim = store_.fills().claim(name.hash, 1);
        put(key);
        store_.fills().finish(claim, key % 2 == 0 ? shm::FillEnd::over : shm::FillEnd::uncacheable, 1);
    }

    shm::CacheStore store_;
    std::mt19937_64 random_;
    Figures& figures_;
    Meta meta_{};
    std::uint64_t tag_ = 0;
};

pid_t start_worker(shm::CacheArena& arena, std::uint32_t row, std::uint64_t seed, Figures& figures)
{
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        Worker(arena, row, seed, figures).run();
    }
    return pid;
}

struct Outcome {
    std::uint64_t in_lock = 0; ///< deaths while the dead one held a lock
    std::uint64_t in_transaction = 0;
    std::uint64_t broken = 0;      ///< repairs after which the check found something
    std::uint64_t most_leaked = 0; ///< bytes
    double slowest_repair_ms = 0;
};

void kill_and_repair(shm::CacheArena& arena, shm::CacheStore& master, std::uint32_t row, pid_t pid, bool forget_journal,
                     Outcome& outcome)
{
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    outcome.in_lock += shm::is_locked_by(arena.stripe(0).lock, row);
    auto& journal = reinterpret_cast<shm::CacheJournal*>(arena.base() + arena.header().journals_offset)[row];
    outcome.in_transaction += journal.count.load() != 0;
    if (forget_journal) {
        journal.count.store(0);
    }
    const auto start = std::chrono::steady_clock::now();
    master.repair(row);
    const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    outcome.slowest_repair_ms = std::max(outcome.slowest_repair_ms, ms);
    shm::CacheCheckSums sums;
    const std::string broken = master.check(&sums);
    outcome.most_leaked = std::max(outcome.most_leaked, sums.leaked_bytes);
    if (!broken.empty() && ++outcome.broken <= 3) {
        fmt::print("after a kill:\n{}", broken);
    }
}

/// Everything is removed: what is left then was leaked.
std::uint64_t empty(shm::CacheStore& master)
{
    std::vector<shm::CacheRef> refs;
    {
        shm::CacheWalk walk(master);
        while (const shm::CacheView* view = walk.next()) {
            refs.push_back(view->ref());
        }
    }
    for (const shm::CacheRef& ref : refs) {
        (void)master.remove(ref);
    }
    master.sweep(1u << 30);
    while (auto dead = master.next_dead_file()) {
        (void)master.confirm(*dead);
    }
    const auto counts = master.counts();
    return counts.cell_bytes + counts.file_bytes + counts.objects + counts.zombies + master.fills().claimed();
}

} // namespace

int main(int argc, char** argv)
{
    const std::uint64_t kills = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100;
    const std::uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : std::random_device()();
    // So that the test itself can be seen to fail.
    const bool forget_journal = std::getenv("CACHE_STRESS_FORGET_JOURNAL") != nullptr;
    auto arena = shm::CacheArena::make({kMemory, 0, 0});
    if (!arena) {
        fmt::print("{}\n", arena.error().detail);
        return 2;
    }
    auto* figures =
        static_cast<Figures*>(::mmap(nullptr, sizeof(Figures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    shm::CacheStore master(*arena, 0);
    std::mt19937_64 random(seed);
    pid_t pids[kWorkers + 1] = {};
    for (std::uint32_t row = 1; row <= kWorkers; ++row) {
        pids[row] = start_worker(*arena, row, random(), *figures);
    }
    Outcome outcome;
    for (std::uint64_t i = 0; i < kills; ++i) {
        ::usleep(static_cast<useconds_t>(500 + random() % 8000));
        const auto row = static_cast<std::uint32_t>(1 + random() % kWorkers);
        kill_and_repair(*arena, master, row, pids[row], forget_journal, outcome);
        pids[row] = start_worker(*arena, row, random(), *figures);
    }
    for (std::uint32_t row = 1; row <= kWorkers; ++row) {
        kill_and_repair(*arena, master, row, pids[row], forget_journal, outcome);
    }
    const auto counts = master.counts();
    const std::uint64_t left = empty(master);
    fmt::print(
        "seed {}: {} kills, {} inside a lock, {} inside a transaction; {} reads, {} hits, {} stored, {} evicted, {} purges\n", seed,
        kills, outcome.in_lock, outcome.in_transaction, figures->reads.load(), figures->hits.load(), figures->stores.load(),
        counts.evictions, figures->purges.load());
    fmt::print("{} wrong bodies, {} served after their purge, {} times broken, {} bytes leaked, {} left when emptied, slowest "
               "repair {:.1f} ms\n",
               figures->wrong.load(), figures->purged_served.load(), outcome.broken, outcome.most_leaked, left,
               outcome.slowest_repair_ms);
    const bool is_whole =
        figures->wrong == 0 && figures->purged_served == 0 && outcome.broken == 0 && outcome.most_leaked == 0 && left == 0;
    const bool is_tried = figures->hits > 0 && figures->stores > 0 && counts.evictions > 0;
    return is_whole && is_tried ? 0 : 1;
}
