// SPDX-License-Identifier: Apache-2.0
#include "common/config/bundle.h"

#include "common/os/memory_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>

namespace ladle::config {

namespace {

constexpr char kMagic[8] = {'L', 'A', 'D', 'L', 'E', 'B', 'D', 'L'};
constexpr std::uint32_t kVersion = 2;
constexpr std::uint32_t kVersionWithoutKept = 1; // still taken over from a running proxy that is upgraded
constexpr std::size_t kMaxBundleBytes = 1u << 30;
constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

struct Header {
    char magic[8];
    std::uint32_t version;
    std::uint32_t reserved;
    std::uint64_t generation;
    std::uint64_t body_bytes;
    std::uint64_t body_hash;
};
static_assert(sizeof(Header) == 40);

void append_number(std::string& to, std::uint64_t value)
{
    to.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void append_text(std::string& to, std::string_view text)
{
    append_number(to, text.size());
    to += text;
}

/// Takes the body apart; every step fails once the body is shorter than it says.
class BodyReader {
public:
    explicit BodyReader(std::string_view body) : rest_(body) {}

    std::uint64_t number()
    {
        std::uint64_t value = 0;
        if (rest_.size() < sizeof(value)) {
            is_damaged_ = true;
            return 0;
        }
        std::memcpy(&value, rest_.data(), sizeof(value));
        rest_.remove_prefix(sizeof(value));
        return value;
    }

    std::string text() { return std::string(view()); }

    std::string_view view()
    {
        const std::uint64_t bytes = number();
        if (bytes > rest_.size()) {
            is_damaged_ = true;
            return {};
        }
        const std::string_view out = rest_.substr(0, bytes);
        rest_.remove_prefix(bytes);
        return out;
    }

    bool is_damaged() const { return is_damaged_; }
    bool is_at_end() const { return rest_.empty(); }

private:
    std::string_view rest_;
    bool is_damaged_ = false;
};

std::optional<Bundle> parse_body(std::string_view body, const std::shared_ptr<const os::MappedFile>& mapping)
{
    BodyReader reader(body);
    Recording recording;
    std::string main_path = reader.text();
    for (std::uint64_t files = reader.number(); files > 0 && !reader.is_damaged(); --files) {
        std::string path = reader.text();
        recording.files[std::move(path)] = reader.text();
    }
    for (std::uint64_t expansions = reader.number(); expansions > 0 && !reader.is_damaged(); --expansions) {
        std::vector<std::string>& paths = recording.expansions[reader.text()];
        for (std::uint64_t count = reader.number(); count > 0 && !reader.is_damaged(); --count) {
            paths.push_back(reader.text());
        }
    }
    for (std::uint64_t kept = reader.is_at_end() ? 0 : reader.number(); kept > 0 && !reader.is_damaged(); --kept) {
        std::string path = reader.text();
        recording.kept[std::move(path)] = {reader.view(), mapping};
    }
    if (reader.is_damaged() || !reader.is_at_end()) {
        return std::nullopt;
    }
    return Bundle{BundleFiles(std::move(recording)), std::move(main_path), 0};
}

} // namespace

Result<os::Fd> make_bundle(const Recording& recording, const std::string& main_path, std::uint64_t generation)
{
    std::string body;
    append_text(body, main_path);
    append_number(body, recording.files.size());
    for (const auto& [path, text] : recording.files) {
        append_text(body, path);
        append_text(body, text);
    }
    append_number(body, recording.expansions.size());
    for (const auto& [pattern, paths] : recording.expansions) {
        append_text(body, pattern);
        append_number(body, paths.size());
        for (const std::string& path : paths) {
            append_text(body, path);
        }
    }
    append_number(body, recording.kept.size());
    for (const auto& [path, kept] : recording.kept) {
        append_text(body, path);
        append_text(body, kept.text);
    }
    if (body.size() > kMaxBundleBytes - sizeof(Header)) {
        return fail(Origin::local, "the configuration has more than 1 GiB");
    }
    Header header{};
    std::memcpy(header.magic, kMagic, sizeof(kMagic));
    header.version = kVersion;
    header.generation = generation;
    header.body_bytes = body.size();
    header.body_hash = XXH3_64bits(body.data(), body.size());
    return os::make_sealed_file("ladle-bundle", std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + body);
}

Result<Bundle> open_bundle(int fd)
{
    const int seals = ::fcntl(fd, F_GET_SEALS);
    if (seals < 0) {
        return fail_errno("the bundle is not a memfd", errno);
    }
    if ((seals & kSeals) != kSeals) {
        return fail(Origin::local, "the bundle is not sealed");
    }
    const auto mapping = os::MappedFile::map(fd, kMaxBundleBytes);
    if (!mapping) {
        return std::unexpected(mapping.error());
    }
    const std::string_view whole = (*mapping)->text();
    Header header{};
    if (whole.size() < sizeof(header)) {
        return fail(Origin::local, "the bundle is too short");
    }
    std::memcpy(&header, whole.data(), sizeof(header));
    const std::string_view body = whole.substr(sizeof(header));
    const bool is_known = header.version == kVersion || header.version == kVersionWithoutKept;
    if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0 || !is_known) {
        return fail(Origin::local, "the bundle is of another version of Ladle");
    }
    if (header.body_bytes != body.size() || header.body_hash != XXH3_64bits(body.data(), body.size())) {
        return fail(Origin::local, "the bundle is damaged");
    }
    std::optional<Bundle> bundle = parse_body(body, *mapping);
    if (!bundle) {
        return fail(Origin::local, "the bundle is damaged");
    }
    bundle->generation = header.generation;
    return std::move(*bundle);
}

LoadResult load_bundle(int fd)
{
    Result<Bundle> bundle = open_bundle(fd);
    if (!bundle) {
        Diagnostic diagnostic;
        diagnostic.file = "bundle";
        diagnostic.message = bundle.error().detail;
        return {nullptr, {std::move(diagnostic)}};
    }
    return load(bundle->files, bundle->main_path, bundle->generation);
}

} // namespace ladle::config
