// SPDX-License-Identifier: Apache-2.0
#include "common/shm/arena.h"

#include "common/os/memory_file.h"

#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <initializer_list>
#include <utility>

namespace ladle::shm {

namespace {

constexpr std::uint64_t kMagic = 0x6c61646c65617265; // "ladleare"
constexpr std::uint32_t kLayoutVersion = 1;

/// Changes whenever a region's place or a row's shape does; metric names count, because their order is the layout.
constexpr std::uint32_t abi_hash() noexcept
{
    std::uint32_t hash = 2166136261u;
    const auto mix = [&hash](std::size_t v) { hash = (hash ^ static_cast<std::uint32_t>(v)) * 16777619u; };
    for (const std::size_t v :
         {sizeof(Regions), offsetof(Regions, rows), offsetof(Regions, retired), offsetof(Regions, servers),
          offsetof(Regions, tickets), sizeof(TicketKeys), offsetof(Regions, sticky), sizeof(StickyKey),
          offsetof(Regions, staples), sizeof(Staple), offsetof(Regions, early_hellos), sizeof(ProcessRow),
          offsetof(ProcessRow, heartbeat_ns), offsetof(ProcessRow, note),
          offsetof(ProcessRow, metrics), offsetof(ProcessRow, in_flight), offsetof(ProcessRow, unanswered),
          offsetof(ProcessRow, waiting), offsetof(ProcessRow, client_spool_kib),
          offsetof(ProcessRow, client_request_kib), sizeof(ServerEntry), sizeof(ServerAddress), offsetof(ServerEntry, addresses),
          offsetof(ServerEntry, health), offsetof(ServerEntry, gate), offsetof(ServerEntry, limit),
          offsetof(ServerEntry, breaker), sizeof(ServerHealth),
          offsetof(ServerHealth, typical), offsetof(ServerHealth, check),
          offsetof(ServerHealth, agent), offsetof(ServerHealth, load), offsetof(ServerHealth, agent_check),
          offsetof(ServerHealth, evidence),
          offsetof(Regions, rows_end), offsetof(ServerEntry, key)}) {
        mix(v);
    }
    for (const MetricDescription& metric : kMetrics) {
        for (const char* c = metric.name; *c != '\0'; ++c) {
            mix(static_cast<unsigned char>(*c));
        }
    }
    return hash;
}

static_assert(offsetof(Regions, header) == 0);
static_assert(offsetof(Regions, rows) % 4096 == 0 && sizeof(ProcessRow) % 4096 == 0, "rows share no page, so no cache line");

Result<Regions*> map(int fd)
{
    void* at = ::mmap(nullptr, sizeof(Regions), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        return fail_errno("cannot map the shared arena", errno);
    }
    auto* regions = static_cast<Regions*>(at);
    ::madvise(&regions->tickets, sizeof regions->tickets, MADV_DONTDUMP);
    ::madvise(&regions->sticky, sizeof regions->sticky, MADV_DONTDUMP);
    return regions;
}

void clear_row(ProcessRow& row) noexcept
{
    row.role.store(Role::none, std::memory_order_relaxed);
    row.state.store(State::none, std::memory_order_relaxed);
    row.number = 0;
    row.generation = 0;
    row.started_ns.store(0, std::memory_order_relaxed);
    row.heartbeat_ns.store(0, std::memory_order_relaxed);
    row.config_generation.store(0, std::memory_order_relaxed);
    std::memset(row.note, 0, sizeof row.note);
    for (auto& cell : row.metrics) {
        cell.store(0, std::memory_order_relaxed);
    }
    for (auto& cell : row.in_flight) {
        cell.store(0, std::memory_order_relaxed);
    }
    for (auto& cell : row.unanswered) {
        cell.store(0, std::memory_order_relaxed);
    }
    for (auto& cell : row.waiting) {
        cell.store(0, std::memory_order_relaxed);
    }
    for (auto& cell : row.client_spool_kib) {
        cell.store(0, std::memory_order_relaxed);
    }
    for (auto& cell : row.client_request_kib) {
        cell.store(0, std::memory_order_relaxed);
    }
}

} // namespace

Arena::Arena(os::Fd fd, Regions* regions) noexcept : fd_(std::move(fd)), regions_(regions)
{
}

Arena::Arena(Arena&& other) noexcept : fd_(std::move(other.fd_)), regions_(std::exchange(other.regions_, nullptr))
{
}

Arena& Arena::operator=(Arena&& other) noexcept
{
    if (this != &other) {
        if (regions_ != nullptr) {
            ::munmap(regions_, sizeof(Regions));
        }
        fd_ = std::move(other.fd_);
        regions_ = std::exchange(other.regions_, nullptr);
    }
    return *this;
}

Arena::~Arena()
{
    if (regions_ != nullptr) {
        ::munmap(regions_, sizeof(Regions));
    }
}

Result<Arena> Arena::make()
{
    auto file = os::make_shared_file("ladle-arena", sizeof(Regions));
    if (!file) {
        return std::unexpected(file.error());
    }
    auto regions = map(file->get());
    if (!regions) {
        return std::unexpected(regions.error());
    }
    ArenaHeader& header = (*regions)->header;
    header.layout_version = kLayoutVersion;
    header.abi_hash = abi_hash();
    if (::getrandom(&header.seed, sizeof header.seed, 0) != sizeof header.seed) {
        return fail_errno("cannot get random numbers", errno);
    }
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    header.created_ns = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
    header.magic = kMagic;
    return Arena(std::move(*file), *regions);
}

Result<Arena> Arena::adopt(os::Fd fd)
{
    struct stat st {};
    if (::fstat(fd.get(), &st) != 0 || st.st_size != static_cast<off_t>(sizeof(Regions))) {
        return fail(Origin::local, "the shared arena has another size");
    }
    auto regions = map(fd.get());
    if (!regions) {
        return std::unexpected(regions.error());
    }
    Arena arena(std::move(fd), *regions);
    const ArenaHeader& header = (*regions)->header;
    if (header.magic != kMagic || header.layout_version != kLayoutVersion || header.abi_hash != abi_hash()) {
        return fail(Origin::local, "the shared arena has another layout");
    }
    return arena;
}

std::uint64_t total(const Regions& regions, Metric metric) noexcept
{
    const bool is_counter = kMetrics[static_cast<std::size_t>(metric)].kind == MetricKind::counter;
    std::uint64_t sum = is_counter ? regions.retired.value(metric) : 0;
    for (const ProcessRow& row : regions.rows) {
        if (row.pid.load(std::memory_order_relaxed) != 0) {
            sum += row.value(metric);
        }
    }
    return sum;
}

std::uint32_t rows_end(const Regions& regions) noexcept
{
    const std::uint32_t known = regions.rows_end.load(std::memory_order_relaxed);
    return known == 0 || known > kMaxProcesses ? kMaxProcesses : known;
}

namespace {

/// Every choice of a server asks this: rows that nobody has had are not looked at.
template <typename CellOf>
std::uint32_t sum_rows(const Regions& regions, CellOf cell_of) noexcept
{
    std::uint32_t sum = 0;
    const std::uint32_t end = rows_end(regions);
    for (std::uint32_t i = 0; i < end; ++i) {
        const ProcessRow& row = regions.rows[i];
        if (row.pid.load(std::memory_order_relaxed) != 0) {
            sum += cell_of(row).load(std::memory_order_relaxed);
        }
    }
    return sum;
}

} // namespace

std::uint32_t in_flight(const Regions& regions, std::uint32_t server) noexcept
{
    return sum_rows(regions, [server](const ProcessRow& row) -> const auto& { return row.in_flight[server]; });
}

std::uint32_t unanswered(const Regions& regions, std::uint32_t server) noexcept
{
    return sum_rows(regions, [server](const ProcessRow& row) -> const auto& { return row.unanswered[server]; });
}

int find_free_row(const Regions& regions) noexcept
{
    for (std::uint32_t i = 0; i < kMaxProcesses; ++i) {
        if (regions.rows[i].pid.load(std::memory_order_relaxed) == 0) {
            return static_cast<int>(i);
        }
    }
    return -1;
}

void retire_row(Regions& regions, std::uint32_t index) noexcept
{
    ProcessRow& row = regions.rows[index];
    for (std::size_t i = 0; i < kMetricCount; ++i) {
        if (kMetrics[i].kind == MetricKind::counter) {
            regions.retired.add(static_cast<Metric>(i), row.metrics[i].load(std::memory_order_relaxed));
        }
    }
    // pid goes first: from here on readers skip the row, so a sum may miss it for a moment's reading but never counts it twice
    // after.
    row.pid.store(0, std::memory_order_release);
    clear_row(row);
    for (ServerEntry& entry : regions.servers.entries) {
        ServerGate::open_for(entry, index);
        give_back_trials(entry.breaker, index);
    }
}

} // namespace ladle::shm
