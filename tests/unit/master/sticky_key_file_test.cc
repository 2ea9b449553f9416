// SPDX-License-Identifier: Apache-2.0
#include "master/sticky_key_file.h"

#include <doctest/doctest.h>

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

using namespace ladle;

namespace {

struct StateFolder {
    StateFolder()
    {
        char name[] = "/tmp/ladle-state-XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        path = name;
        config.server.state = path + "/state";
        config.upstreams.resize(1);
        config.upstreams[0].sticky_cookie = "srv";
    }
    ~StateFolder() { std::filesystem::remove_all(path); }
    StateFolder(const StateFolder&) = delete;
    StateFolder& operator=(const StateFolder&) = delete;

    std::string path;
    config::Config config;
};

/// What a master that starts now has as its key; empty = none.
std::string start(const config::Config& config)
{
    const auto key = std::make_unique<shm::StickyKey>();
    master::provide_sticky_key(*key, config);
    return key->ready == 0 ? std::string() : std::string(key->bytes.begin(), key->bytes.end());
}

} // namespace

TEST_CASE("sticky key: the first master makes the file, for its own eyes, and those after it read it")
{
    StateFolder folder;
    const std::string first = start(folder.config);
    CHECK(first.size() == 32);
    CHECK(first != std::string(32, '\0'));
    struct stat found {};
    REQUIRE(::stat((folder.config.server.state + "/sticky.key").c_str(), &found) == 0);
    CHECK((found.st_mode & 0777) == 0600);
    CHECK(found.st_size == 32);
    CHECK(start(folder.config) == first);
    StateFolder other;
    CHECK(start(other.config) != first);
}

TEST_CASE("sticky key: nothing is made where nobody asks for it")
{
    StateFolder folder;
    folder.config.upstreams[0].sticky_cookie.clear();
    CHECK(start(folder.config).empty());
    CHECK_FALSE(std::filesystem::exists(folder.config.server.state));
}

TEST_CASE("sticky key: a file that is none is left as it is, and a folder that cannot be used costs no start")
{
    StateFolder folder;
    std::filesystem::create_directory(folder.config.server.state);
    std::ofstream(folder.config.server.state + "/sticky.key") << "short";
    const std::string once = start(folder.config);
    CHECK(once.size() == 32);
    CHECK(start(folder.config) != once);
    CHECK(std::filesystem::file_size(folder.config.server.state + "/sticky.key") == 5);
    folder.config.server.state = "/proc/nowhere";
    CHECK(start(folder.config).size() == 32);
}
