package layer

// ReadWithin is Read with another limit than that of the memory of machines.
var ReadWithin = readWithin
