// SPDX-License-Identifier: Apache-2.0
// A folder that is gone at the end of the test.
#pragma once

#include "common/os/fd.h"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace ladle::test {

struct ScratchFolder {
    ScratchFolder()
    {
        char name[] = "/tmp/ladle-unit-XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        path = name;
        fd.reset(::open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;
    ~ScratchFolder() { std::filesystem::remove_all(path); }

    /// The path of a file with this text; makes its folders, too.
    std::string write(const std::string& name, const std::string& text) const
    {
        const std::string file = path + "/" + name;
        std::filesystem::create_directories(std::filesystem::path(file).parent_path());
        std::ofstream(file) << text;
        return file;
    }

    std::string path;
    os::Fd fd;
};

} // namespace ladle::test
