service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
service "a" {
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
