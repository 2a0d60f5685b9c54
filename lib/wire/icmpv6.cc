#include "pollux/wire/icmpv6.h"

namespace pollux {

IcmpProblem Icmpv6View::problem() const noexcept {
  switch (type()) {
    case Icmpv6Type::destination_unreachable:  // RFC 4443 3.1
      switch (code()) {
        case 0:  // no route
        case 2:  // beyond the scope of the source address
          return IcmpProblem::network_unreachable;
        case 1:  // prohibited
        case 3:  // address unreachable
        case 5:  // source address failed policy
        case 6:  // reject route
          return IcmpProblem::host_unreachable;
        case icmpv6_port_unreachable:
          return IcmpProblem::port_unreachable;
        default:
          return IcmpProblem::other;
      }
    case Icmpv6Type::packet_too_big:
      return IcmpProblem::packet_too_big;
    case Icmpv6Type::time_exceeded:
      return IcmpProblem::time_exceeded;
    case Icmpv6Type::parameter_problem:
      // RFC 4443 3.4 code 1 is what IPv4 calls protocol unreachable.
      return code() == icmpv6_unknown_next_header ? IcmpProblem::protocol_unreachable
                                                  : IcmpProblem::parameter_problem;
    default:
      return IcmpProblem::other;
  }
}

}  // namespace pollux
