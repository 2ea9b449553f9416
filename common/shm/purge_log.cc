// SPDX-License-Identifier: Apache-2.0
#include "common/shm/purge_log.h"

#include "common/base/append.h"
#include "common/shm/disk_files.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace ladle::shm {

namespace {

constexpr std::uint64_t kBaseMagic = 0x6c61646c70726762; // "ladlprgb"
constexpr std::size_t kMostBaseBytes = std::size_t{16} << 20;
constexpr std::size_t kMostLogBytes = std::size_t{1} << 30;
constexpr std::size_t kHashDigits = 16;

bool is_plain(char c) noexcept
{
    return c > 0x20 && c < 0x7f && c != '%';
}

/// Without spaces and ends of lines.
std::string escape(std::string_view text)
{
    std::string out;
    for (const char c : text) {
        if (is_plain(c)) {
            out += c;
        } else {
            append(out, "%{:02x}", static_cast<unsigned char>(c));
        }
    }
    return out;
}

std::optional<std::string> unescape(std::string_view text)
{
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        unsigned value = 0;
        const std::string_view digits = text.substr(i + 1, 2);
        if (digits.size() != 2 || std::from_chars(digits.data(), digits.data() + 2, value, 16).ptr != digits.data() + 2) {
            return std::nullopt;
        }
        out += static_cast<char>(value);
        i += 2;
    }
    return out;
}

std::string hash_text(std::string_view text)
{
    return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

/// For the user that the thread acts as, which access() would not ask.
bool is_there(int folder, const char* name) noexcept
{
    struct stat status {};
    return ::fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

bool purge_again(PurgeTable& purges, const LoggedPurge& purge)
{
    switch (purge.subject) {
    case PurgeSubject::url: return purges.purge_url(purge.text, purge.kind);
    case PurgeSubject::prefix: return purges.purge_prefix(purge.text, purge.kind);
    case PurgeSubject::tag: return purges.purge_tag(purge.text, purge.kind);
    case PurgeSubject::all: return purges.purge_all(purge.kind);
    }
    return false;
}

/// Does again what a log says after epoch `known`. False when it is not whole.
bool purge_again(int folder, const char* name, std::uint64_t known, PurgeTable& purges)
{
    const std::string log = read_file(folder, name, kMostLogBytes);
    std::string_view rest(log);
    bool is_whole = is_there(folder, name);
    while (!rest.empty() && is_whole) {
        const std::size_t end = rest.find('\n');
        const std::optional<LoggedPurge> purge = parse_purge_line(rest.substr(0, end));
        rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
        if (!purge) {
            is_whole = rest.empty() && end == std::string_view::npos; // the last line may be cut off: its writer had not answered yet
        } else if (purge->epoch > known) {
            is_whole = purges.advance(purge->epoch - 1) && purge_again(purges, *purge);
        }
    }
    return is_whole;
}

} // namespace

std::string to_line(const LoggedPurge& purge)
{
    std::string line = fmt::format("{} {} {} {} ", purge.epoch, static_cast<char>(purge.subject),
                                   purge.kind == PurgeKind::hard ? 'h' : 's', escape(purge.text));
    return line + hash_text(line) + "\n";
}

std::optional<LoggedPurge> parse_purge_line(std::string_view line)
{
    if (line.size() < kHashDigits || hash_text(line.substr(0, line.size() - kHashDigits)) != line.substr(line.size() - kHashDigits)) {
        return std::nullopt;
    }
    std::array<std::string_view, 4> words;
    for (std::string_view& word : words) {
        const std::size_t space = line.find(' ');
        if (space == std::string_view::npos) {
            return std::nullopt;
        }
        word = line.substr(0, space);
        line.remove_prefix(space + 1);
    }
    LoggedPurge purge;
    const auto [end, status] = std::from_chars(words[0].data(), words[0].data() + words[0].size(), purge.epoch);
    auto text = unescape(words[3]);
    const bool is_sane = status == std::errc() && end == words[0].data() + words[0].size() && words[1].size() == 1 &&
                         std::string_view("upta").find(words[1]) != std::string_view::npos && (words[2] == "h" || words[2] == "s") && text;
    if (!is_sane) {
        return std::nullopt;
    }
    purge.subject = static_cast<PurgeSubject>(words[1].front());
    purge.kind = words[2] == "h" ? PurgeKind::hard : PurgeKind::soft;
    purge.text = std::move(*text);
    return purge;
}

std::string make_purge_base(const PurgeBase& base)
{
    const std::uint64_t head[] = {kBaseMagic, base.seed, base.first_number, base.table.size()};
    std::string out(reinterpret_cast<const char*>(head), sizeof head);
    out += base.table;
    const std::uint64_t hash = XXH3_64bits(out.data(), out.size());
    return out.append(reinterpret_cast<const char*>(&hash), sizeof hash);
}

std::optional<PurgeBase> parse_purge_base(std::string_view bytes)
{
    std::uint64_t head[4] = {};
    std::uint64_t hash = 0;
    if (bytes.size() < sizeof head + sizeof hash) {
        return std::nullopt;
    }
    std::memcpy(head, bytes.data(), sizeof head);
    std::memcpy(&hash, bytes.data() + bytes.size() - sizeof hash, sizeof hash);
    if (head[0] != kBaseMagic || head[3] != bytes.size() - sizeof head - sizeof hash ||
        hash != XXH3_64bits(bytes.data(), bytes.size() - sizeof hash)) {
        return std::nullopt;
    }
    return PurgeBase{head[1], head[2], std::string(bytes.substr(sizeof head, head[3]))};
}

std::optional<PurgeBase> read_purge_base(int folder)
{
    return parse_purge_base(read_file(folder, kPurgeBaseName, kMostBaseBytes));
}

bool restore_purges(int folder, const PurgeBase& base, PurgeTable& purges)
{
    if (!purges.import_bytes(base.table)) {
        return false;
    }
    const std::uint64_t known = purges.epoch();
    const bool has_old = is_there(folder, kPurgeOldLogName);
    const bool is_whole = (!has_old || purge_again(folder, kPurgeOldLogName, known, purges)) &&
                          purge_again(folder, kPurgeLogName, known, purges);
    return is_whole && purges.advance(purges.epoch() + kEpochsPerLife);
}

int write_purge_base(int folder, const PurgeTable& purges, std::uint64_t seed, std::uint64_t first_number)
{
    if (!has_purge_base(folder)) {
        ::unlinkat(folder, kPurgeOldLogName, 0); // of no use without a base
    }
    // The new log first: who opens it has purged before, and so stands in the table that is written after this.
    int code = ::linkat(folder, kPurgeLogName, folder, kPurgeOldLogName, 0) == 0 || errno == ENOENT ? 0 : errno;
    const bool was_interrupted = code == EEXIST; // both logs count until there is a base; then once more, as others may be appending
    if (code == 0) {
        code = replace_file(folder, kPurgeLogName, {}, true);
    }
    code = was_interrupted ? 0 : code;
    const std::string base = make_purge_base({seed, first_number, purges.export_bytes()});
    code = code == 0 ? replace_file(folder, kPurgeBaseName, base, true) : code;
    const bool has_no_old_log = ::unlinkat(folder, code == 0 ? kPurgeOldLogName : kPurgeBaseName, 0) == 0 && code == 0;
    return was_interrupted && has_no_old_log ? write_purge_base(folder, purges, seed, first_number) : code;
}

bool has_purge_base(int folder) noexcept
{
    return is_there(folder, kPurgeBaseName);
}

std::uint64_t purge_log_bytes(int folder) noexcept
{
    struct stat status {};
    return ::fstatat(folder, kPurgeLogName, &status, AT_SYMLINK_NOFOLLOW) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

int append_purge(int folder, const std::string& line, bool is_durable) noexcept
{
    const os::Fd file(::openat(folder, kPurgeLogName, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW));
    int code = 0;
    if (!file) {
        code = errno;
    } else if (const ssize_t n = ::write(file.get(), line.data(), line.size()); n != static_cast<ssize_t>(line.size())) {
        code = n < 0 ? errno : ENOSPC;
    } else if (is_durable && ::fdatasync(file.get()) != 0) {
        code = errno;
    }
    if (code != 0) {
        ::unlinkat(folder, kPurgeBaseName, 0);
    }
    return code;
}

} // namespace ladle::shm
