// SPDX-License-Identifier: Apache-2.0
#include "common/base/json.h"

template class nlohmann::basic_json<>;

namespace ladle {

nlohmann::json parse_json(std::string_view text)
{
    return nlohmann::json::parse(text, nullptr, false);
}

} // namespace ladle
