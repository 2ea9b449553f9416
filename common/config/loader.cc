// SPDX-License-Identifier: Apache-2.0
#include "common/config/loader.h"

#include "common/config/builder.h"
#include "common/config/checker.h"
#include "common/config/node.h"

#include <fmt/format.h>

#include <set>

namespace ladle::config {

namespace {

constexpr std::size_t kMaxFiles = 10'000;
constexpr int kMaxIncludeDepth = 8;

/// Reads the main file and its includes into one tree.
class Reader {
public:
    Reader(FileSource& files, Findings& findings) : files_(files), findings_(findings) {}

    /// False if any file could not be read or parsed: then what is missing from the tree says nothing.
    bool read(const std::string& path, Node& root);

private:
    void read_file(const std::string& path, std::string text, Node& root);
    void read_includes(const Node& include, const std::string& from, Node& root);
    void include(const Node& item, const std::string& from, Node& root);
    void merge(Node& into, Node from, std::string_view path);

    FileSource& files_;
    Findings& findings_;
    std::set<std::string> seen_;
    int depth_ = 0; ///< of files that include files
    bool is_complete_ = true;
};

bool Reader::read(const std::string& path, Node& root)
{
    Result<std::string> text = files_.read(path);
    if (!text) {
        const std::uint32_t file = findings_.add_file(path, {});
        const std::size_t colon = text.error().detail.rfind(": ");
        findings_.error({file, 0, 0, 1}, {},
                        "cannot read it: " +
                            (colon == std::string::npos ? text.error().detail : text.error().detail.substr(colon + 2)));
        return false;
    }
    seen_.insert(path);
    read_file(path, std::move(*text), root);
    return is_complete_;
}

void Reader::read_file(const std::string& path, std::string text, Node& root)
{
    const std::uint32_t file = findings_.add_file(path, std::move(text));
    std::optional<Node> tree = read_toml(findings_.file_text(file), file, findings_);
    if (!tree) {
        is_complete_ = false;
        return;
    }
    const Node* found = tree->find("include");
    const Node include = found == nullptr ? Node() : *found;
    if (found != nullptr) {
        tree->children.erase(tree->children.begin() + (found - tree->children.data()));
    }
    merge(root, std::move(*tree), "");
    if (!include.key.empty()) {
        ++depth_;
        read_includes(include, path, root);
        --depth_;
    }
}

void Reader::read_includes(const Node& include_node, const std::string& from, Node& root)
{
    if (include_node.is_text()) {
        return include(include_node, from, root);
    }
    if (!include_node.is_array()) {
        findings_.error(include_node.place, "include",
                        fmt::format("expected a string or a list of strings, got {}", describe(include_node)));
        return;
    }
    for (const Node& item : include_node.children) {
        if (item.is_text()) {
            include(item, from, root);
        } else {
            findings_.error(item.place, "include", fmt::format("expected a string, got {}", describe(item)));
        }
    }
}

void Reader::include(const Node& item, const std::string& from, Node& root)
{
    if (item.text.empty() || item.text.find('\0') != std::string::npos) {
        findings_.error(item.place, "include", "expected the name of a file, or a pattern such as \"sites.d/*.toml\"");
        return;
    }
    if (depth_ > kMaxIncludeDepth) {
        findings_.error(item.place, "include", fmt::format("includes are nested more than {} deep", kMaxIncludeDepth));
        return;
    }
    const std::string wanted = resolve_path(from, item.text);
    std::vector<std::string> paths{wanted};
    if (wanted.find_first_of("*?[") != std::string::npos) {
        Result<std::vector<std::string>> found = files_.expand(wanted);
        if (!found) {
            findings_.error(item.place, "include", found.error().detail);
            is_complete_ = false;
            return;
        }
        paths = std::move(*found);
    }
    for (const std::string& path : paths) {
        if (findings_.is_full() || seen_.size() >= kMaxFiles) {
            return;
        }
        if (!seen_.insert(path).second) {
            findings_.warning(item.place, "include", fmt::format("{} is included already", path), "it is read once");
            continue;
        }
        Result<std::string> text = files_.read(path);
        if (!text) {
            findings_.error(item.place, "include", text.error().detail);
            is_complete_ = false;
            continue;
        }
        read_file(path, std::move(*text), root);
    }
}

/// Tables of several files become one; a value, and the table of one name, may stand in one file only.
void Reader::merge(Node& into, Node from, std::string_view path)
{
    const bool holds_names = path == "site" || path == "upstream" || path == "listen";
    for (Node& child : from.children) {
        Node* present = into.find(child.key);
        if (present == nullptr) {
            into.children.push_back(std::move(child));
            continue;
        }
        const std::string child_path = join_key(std::string(path), child.key);
        if (present->is_table() && child.is_table() && !holds_names) {
            merge(*present, std::move(child), child_path);
            continue;
        }
        findings_.error(child.key_place, child_path,
                        fmt::format("{} is defined twice", child.is_table() ? fmt::format("[{}]", child_path) : child_path),
                        "first at " + findings_.where(present->key_place));
    }
}

} // namespace

LoadResult load(FileSource& files, const std::string& path, std::uint64_t generation, TlsChecks checks)
{
    Findings findings;
    Node root;
    const bool is_complete = Reader(files, findings).read(path, root);
    check_tree(root, findings);
    std::shared_ptr<Config> config;
    // What is missing from an incomplete tree would be reported as missing from the configuration.
    if (is_complete && !findings.is_full()) {
        config = Builder(files, root, findings, checks).build();
        config->generation = generation;
    }
    if (findings.has_errors()) {
        config = nullptr;
    }
    return {std::move(config), findings.take()};
}

} // namespace ladle::config
