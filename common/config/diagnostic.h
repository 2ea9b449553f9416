// SPDX-License-Identifier: Apache-2.0
//
// What is wrong with a configuration, and where: the one form in which the loader, `ladle check`, `start` and `reload` say it.
//
// Findings collects the diagnostics of one load together with the texts of the files, so that each can show its line. It belongs to
// one load() and lives on its stack. Nothing here throws or touches a file. The number of kept diagnostics is bounded
// (kMaxFindings).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ladle::config {

enum class Severity : std::uint8_t { error, warning };

/// One thing that is wrong. line 0 = the file as a whole. Columns count characters from 1.
struct Diagnostic {
    Severity severity = Severity::error;
    std::string file;
    std::uint32_t line = 0;
    std::uint32_t column = 0;
    std::uint32_t width = 1;
    std::string message;     ///< one clause, no full stop
    std::string hint;        ///< what to write instead, or the other end of the problem; may be empty
    std::string key_path;    ///< site."example.com".route[0].path; empty for syntax errors
    std::string source_line; ///< the text of the line, without its newline
};

/// Where something stands. `file` is an index into Findings' files.
struct Place {
    std::uint32_t file = 0;
    std::uint32_t line = 0;
    std::uint32_t column = 0;
    std::uint32_t width = 1;
};

inline constexpr std::size_t kMaxFindings = 200;

class Findings {
public:
    /// Adds a file and gives its index; the text is kept for the lines to show.
    std::uint32_t add_file(std::string name, std::string text);

    void error(const Place& place, std::string key_path, std::string message, std::string hint = {});
    void warning(const Place& place, std::string key_path, std::string message, std::string hint = {});

    bool has_errors() const { return errors_ > 0; }
    std::size_t error_count() const { return errors_; }
    /// There are so many errors that it is of no use to look for more.
    bool is_full() const { return errors_ > kMaxFindings; }
    const std::string& file_name(std::uint32_t file) const { return files_[file].name; }
    const std::string& file_text(std::uint32_t file) const { return files_[file].text; }
    /// "/etc/ladle/ladle.toml:12:1"
    std::string where(const Place& place) const;
    std::string source_line(std::uint32_t file, std::uint32_t line);

    /// Everything found, in file order.
    std::vector<Diagnostic> take();

private:
    struct File {
        std::string name;
        std::string text;
        std::vector<std::size_t> line_starts; ///< made when the first line is asked for
    };
    struct Found {
        Place place;
        Diagnostic diagnostic;
    };
    void add(Severity severity, const Place& place, std::string key_path, std::string message, std::string hint);

    std::vector<File> files_;
    std::vector<Found> found_;
    std::size_t errors_ = 0;
    std::size_t warnings_ = 0;
};

/// The form for people: file:line:column, the line, a caret and the hint; ends in a newline.
std::string to_text(const Diagnostic& diagnostic);
/// All of them, one after the other.
std::string to_text(const std::vector<Diagnostic>& diagnostics);
/// For editors: a JSON array of objects with the members of Diagnostic.
std::string to_json(const std::vector<Diagnostic>& diagnostics);
/// "2 errors, 1 warning", "1 error", "no errors".
std::string summary(const std::vector<Diagnostic>& diagnostics);
bool has_errors(const std::vector<Diagnostic>& diagnostics);

} // namespace ladle::config
