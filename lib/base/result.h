// Errors that a caller made or a limit caused: a code to branch on and a text a user can act on.
#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace pollux {

enum class ErrorCode : std::uint8_t {
  invalid_argument,    ///< The call can never succeed with these arguments.
  address_in_use,      ///< Port or address taken by another listener, socket or connection.
  address_unavailable, ///< The local address is not one of this stack's, or no source address fits.
  no_route,            ///< No route to the destination.
  limit_reached,       ///< A stated limit (connections, sockets, routes, ports, ...) is used up.
  no_memory,           ///< The packet pool or start-up memory is exhausted.
  device,              ///< A port or EAL operation failed.
};

/// What went wrong, and a text that names the thing, its value and what was expected.
struct Error {
  ErrorCode code = ErrorCode::invalid_argument;
  std::string text;
};

template <typename T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> failure(ErrorCode code, std::string text) {
  return tl::unexpected<Error>(Error{code, std::move(text)});
}

}  // namespace pollux
