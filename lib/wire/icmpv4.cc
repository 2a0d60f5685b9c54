#include "pollux/wire/icmpv4.h"

namespace pollux {

bool Icmpv4View::is_error() const noexcept {
  // RFC 1122 3.2.2: the error messages among the ICMP types.
  switch (type()) {
    case Icmpv4Type::destination_unreachable:
    case Icmpv4Type::source_quench:
    case Icmpv4Type::redirect:
    case Icmpv4Type::time_exceeded:
    case Icmpv4Type::parameter_problem:
      return true;
    case Icmpv4Type::echo_reply:
    case Icmpv4Type::echo_request:
      break;
  }
  return false;
}

IcmpProblem Icmpv4View::problem() const noexcept {
  if (type() == Icmpv4Type::time_exceeded) return IcmpProblem::time_exceeded;
  if (type() == Icmpv4Type::parameter_problem) return IcmpProblem::parameter_problem;
  if (type() != Icmpv4Type::destination_unreachable) return IcmpProblem::other;
  switch (code()) {  // RFC 792, RFC 1122 3.2.2.1
    case 0:
    case 6:
    case 9:
    case 11:
      return IcmpProblem::network_unreachable;
    case 1:
    case 5:
    case 7:
    case 8:
    case 10:
    case 12:
      return IcmpProblem::host_unreachable;
    case 2:
      return IcmpProblem::protocol_unreachable;
    case 3:
      return IcmpProblem::port_unreachable;
    case 4:
      return IcmpProblem::packet_too_big;
    default:
      return IcmpProblem::other;
  }
}

void Icmpv4Fields::emit(std::uint8_t* out) const noexcept {
  out[0] = static_cast<std::uint8_t>(type);
  out[1] = code;
  store_be16(out + 2, 0);
  store_be32(out + 4, rest);
}

}  // namespace pollux
