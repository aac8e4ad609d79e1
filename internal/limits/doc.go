// Package limits says how often something may be asked for, and holds to it.
//
// A limit has a name ("login.address"), one or more rates (30 a minute, 300 an hour), and counts by key: a client's
// address, an account, a principal. It is held by GCRA, which needs one number per key: a burst of the whole quota is
// allowed, after that one request each window/quota. Default has the limits of Atlas, Parse what a setting makes of them.
//
// Keys are kept as HMACs, so that neither memory nor Redis tells who was counted.
//
// # Where the counts are
//
// In this process's memory, for at most MaxKeys keys (about 16 MB): whoever was not seen for longest is forgotten first.
// A fleet of n nodes then allows n times as much. With Redis the counts are shared. While Redis does not answer within a
// quarter of a second, each node falls back on its own counts, asks Redis again every second, and says so in its log:
// a limit is then looser by the number of nodes, and nobody is refused for want of Redis.
//
// # Failed tries
//
// A Delay is of another kind: it counts failed tries by key and makes the next one wait, 1, 2, 4 … seconds, once there
// were more than a few. Nobody is ever locked out: the longest wait is a minute, a try that is refused counts for nothing,
// and failures are forgotten after an hour without one. While a key has to wait, one try at a time is let through, so that
// tries sent at once are no way around the wait.
package limits
