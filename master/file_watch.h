// SPDX-License-Identifier: Apache-2.0
//
// [tls] watch: the files that the configuration keeps (certificates, keys, CAs, revocation lists, ticket keys) are looked at every
// second, and what somebody has replaced is taken, once nothing has changed for a second more. The configuration file itself is
// not read again: what its author has not finished does not come into force with a certificate.
//
// A certificate and its key go together. Where they do not fit, perhaps as one of them is still to come, both stay as they are,
// with a warning, and the others are taken. Master process; owned by it.
#pragma once

#include "common/config/bundle.h"
#include "master/running.h"

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace ladle::master {

class FileWatch {
public:
    /// What has been replaced and can be taken, by path; empty = nothing, or not yet. Call every second. What it returns is not
    /// returned again until the files change once more.
    RenewedFiles look(const Running& running);

private:
    /// What tells one state of a file from another without reading it.
    struct Signature {
        dev_t device = 0;
        ino_t inode = 0;
        off_t size = 0;
        std::int64_t changed_ns = 0;
        bool operator==(const Signature&) const = default;
    };

    void follow(const Running& running);
    /// Whether it differs from what the configuration has, and was not known to.
    bool look_at(const std::string& path, const config::SharedText& kept);
    RenewedFiles settle(const Running& running);

    std::weak_ptr<const config::Config> of_;
    std::map<std::string, config::SharedText> kept_; ///< as the configuration has them
    std::string next_;                               ///< the first path of the next look
    std::map<std::string, Signature> seen_;
    RenewedFiles changed_; ///< not taken yet
    bool is_dirty_ = false; ///< something changed since it was last settled
};

} // namespace ladle::master
