// SPDX-License-Identifier: Apache-2.0
//
// A text that a configuration refers to without a copy of its own: certificates and keys. In a worker it lies in the mapped bundle,
// whose pages all processes share; so thousands of them cost a worker nothing until it uses them.
#pragma once

#include <memory>
#include <string_view>

namespace ladle::config {

struct SharedText {
    std::string_view text;
    std::shared_ptr<const void> owner; ///< keeps it
};

} // namespace ladle::config
