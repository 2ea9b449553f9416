// SPDX-License-Identifier: Apache-2.0
//
// Where the loader gets the texts that a configuration is made of: its files, its includes and everything that it refers to (error
// pages, certificates and their keys). The master reads the disk and records what it read; the record travels to the workers in
// the bundle (bundle.h), and each of them runs the same load() over it. So there is one loader and no serialiser, and a worker
// never opens a configuration file.
#pragma once

#include "common/base/error.h"
#include "common/config/shared_text.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ladle::config {

class FileSource {
public:
    static constexpr std::size_t kMostBytes = 16u << 20; ///< of a file, where nothing else is said
    virtual ~FileSource() = default;
    /// The whole text of a file.
    virtual Result<std::string> read(const std::string& path) = 0;
    /// The same for a text that the configuration keeps: it lasts as long as its owner, without a copy. Also "env:NAME" and
    /// "credential:NAME", see is_secret_source().
    virtual Result<SharedText> keep(const std::string& path, std::size_t most_bytes) = 0;
    Result<SharedText> keep(const std::string& path) { return keep(path, kMostBytes); }
    /// The paths that match a pattern of glob(7), sorted; none is not a failure.
    virtual Result<std::vector<std::string>> expand(const std::string& pattern) = 0;
    /// What a path is on this machine now.
    enum class Folder : std::uint8_t { unknown, missing, not_a_folder, in_memory, on_disk };
    virtual Folder look_at_folder(const std::string& path) = 0;
    /// What was changed of upstreams beside the files, see server_changes.h; empty = nothing.
    virtual std::string server_changes() const = 0;
};

/// Everything that one load() asked for, with the answers. Failures are not kept: a load that saw one makes no bundle.
struct Recording {
    std::map<std::string, std::string> files;
    std::map<std::string, std::vector<std::string>> expansions;
    std::map<std::string, SharedText> kept;

    /// That which stands among the files as kServerChanges.
    std::string server_changes() const;
    void set_server_changes(const std::string& text);
};

/// The disk, recorded. Paths are used as given (relative ones from the working folder). No side effects.
class DiskFiles final : public FileSource {
public:
    explicit DiskFiles(const std::string& server_changes = {}) { recording_.set_server_changes(server_changes); }
    Result<std::string> read(const std::string& path) override;
    using FileSource::keep;
    Result<SharedText> keep(const std::string& path, std::size_t most_bytes) override;
    Result<std::vector<std::string>> expand(const std::string& pattern) override;
    Folder look_at_folder(const std::string& path) override;
    std::string server_changes() const override { return recording_.server_changes(); }
    const Recording& recording() const { return recording_; }

private:
    Recording recording_;
};

/// Answers from a recording: the bundle's, or a test's.
class BundleFiles final : public FileSource {
public:
    BundleFiles() = default;
    explicit BundleFiles(Recording recording) : recording_(std::move(recording)) {}
    Result<std::string> read(const std::string& path) override;
    using FileSource::keep;
    Result<SharedText> keep(const std::string& path, std::size_t most_bytes) override;
    Result<std::vector<std::string>> expand(const std::string& pattern) override;
    Folder look_at_folder(const std::string&) override { return Folder::unknown; } ///< who recorded has looked
    std::string server_changes() const override { return recording_.server_changes(); }
    const Recording& recording() const { return recording_; }

private:
    Recording recording_;
};

/// "env:NAME", a variable of the environment, or "credential:NAME", a file that systemd gives to the unit (LoadCredential=).
bool is_secret_source(std::string_view source) noexcept;

/// `path`, if it is relative taken from the folder of the file `from`.
std::string resolve_path(const std::string& from, const std::string& path);

} // namespace ladle::config
