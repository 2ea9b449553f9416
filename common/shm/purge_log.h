// SPDX-License-Identifier: Apache-2.0
//
// What the disk tier remembers of purges when all processes are dead: the purge table as it stood at the last start or clean stop
// (purges.base), and a line for every purge since (purges.log), appended by whoever purged, once the purge is in force. After a crash
// both are put together again, and no object whose fetch began before a purge that fits it comes back.
//
// Epochs go on over all lives of a folder: an object's file has the epoch of its fetch, so a new life begins far above everything that
// the old one can have counted. Nothing on disk is believed without a good base; so who cannot append takes the base away, and after a
// crash the tier begins empty instead of serving what was purged. The master writes a new base as soon as there is room for one. Master
// at start and stop and now and then; workers and master append.
#pragma once

#include "common/shm/cache_purge.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ladle::shm {

inline constexpr const char* kPurgeBaseName = "purges.base";
inline constexpr const char* kPurgeLogName = "purges.log";
inline constexpr const char* kPurgeOldLogName = "purges.old"; ///< the log before, while a new base is written
inline constexpr std::uint64_t kEpochsPerLife = 1u << 20; ///< gap to what a life before may have counted and not logged

enum class PurgeSubject : char { url = 'u', prefix = 'p', tag = 't', all = 'a' };

struct LoggedPurge {
    std::uint64_t epoch = 0; ///< of the table after the purge
    PurgeSubject subject = PurgeSubject::url;
    PurgeKind kind = PurgeKind::hard;
    std::string text; ///< URL as keys have it, prefix or tag
};

/// One line with its end; and from it (without its end). Nothing for a line that is damaged.
std::string to_line(const LoggedPurge& purge);
std::optional<LoggedPurge> parse_purge_line(std::string_view line);

/// The base: what a new life of the folder begins with.
struct PurgeBase {
    std::uint64_t seed = 0;
    std::uint64_t first_number = 0; ///< numbers of this life's files are larger than this and all before
    std::string table; ///< PurgeTable::export_bytes()
};
std::string make_purge_base(const PurgeBase& base);
std::optional<PurgeBase> parse_purge_base(std::string_view bytes);

/// Reads the folder's base; nothing where there is none that can be believed.
std::optional<PurgeBase> read_purge_base(int folder);
/// Brings `purges` to what base and log say. False: then nothing on disk may be used.
[[nodiscard]] bool restore_purges(int folder, const PurgeBase& base, PurgeTable& purges);
/// Writes `purges` as the new base and begins a new log; at any time, also while others append. 0 or an errno: then there is no base,
/// and it is to be called again when there may be room.
int write_purge_base(int folder, const PurgeTable& purges, std::uint64_t seed, std::uint64_t first_number);

/// Whether there is a base; without one nothing in the folder is believed by the next life.
bool has_purge_base(int folder) noexcept;
/// Bytes in the log.
std::uint64_t purge_log_bytes(int folder) noexcept;
/// Appends a line; of a purge that is in force already, or it may fall between an old log and a new base. When that fails the base is taken away. May wait for the disk.
int append_purge(int folder, const std::string& line, bool is_durable) noexcept;

} // namespace ladle::shm
