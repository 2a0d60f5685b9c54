#include "pollux/base/check.h"

#include <gtest/gtest.h>

TEST(CheckDeathTest, FailureNamesPlaceExpressionAndValues) {
  const int got = 3;
  EXPECT_DEATH(POLLUX_CHECK(got == 4, "got %d of %s", got, "segments"),
               "base_check_test\\.cc:[0-9]+: CHECK\\(got == 4\\) failed: got 3 of segments");
}

TEST(Check, EvaluatesItsConditionOnceAndGoesOnWhenItHolds) {
  int evaluations = 0;
  POLLUX_CHECK(++evaluations > 0, "evaluated %d times", evaluations);
  EXPECT_EQ(evaluations, 1);
}

#if POLLUX_DCHECK_ON
TEST(DcheckDeathTest, AbortsInDebugBuilds) {
  EXPECT_DEATH(POLLUX_DCHECK(2 + 2 == 5), "CHECK\\(2 \\+ 2 == 5\\) failed: debug check");
}
#else
TEST(Dcheck, IsNotEvaluatedInReleaseBuilds) {
  int evaluations = 0;
  POLLUX_DCHECK(++evaluations < 0);
  EXPECT_EQ(evaluations, 0);
}
#endif
