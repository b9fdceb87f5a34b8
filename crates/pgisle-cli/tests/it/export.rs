//! `pgisle export terraform`. What Terraform makes of the files is tested with the provider.

use crate::program::Place;

const SPEC: &str = r#"
name_prefix = "shop"
tags        = { Note = "$${not} a template" }

service "orders" {
  password = "with \"quotes\""
  settings = { statement_timeout = "30s" }
}
"#;

#[test]
fn an_export_is_written_once_and_never_over_other_text() {
    let place = Place::new();
    place.file("pgisle.hcl", SPEC);
    assert!(place.seen(&["export", "terraform"]).contains("exit: 0\n---- stdout\ncreated     pgisle.tf\ncreated     imports.tf\n"));
    let text = place.read("pgisle.tf");
    for part in
        ["Note = \"$${not} a template\"", "password = var.orders_password", "settings = {\n    statement_timeout = \"30s\"\n  }"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("quotes"), "no password is written");
    // The same again changes nothing; another text stays as it is, and then nothing else is written either.
    assert!(place.seen(&["export", "terraform"]).contains("kept        pgisle.tf\nkept        imports.tf\n"));
    place.file("imports.tf", "# mine\n");
    place.file("pgisle.hcl", SPEC.replace("30s", "40s"));
    let refused = place.seen(&["export", "terraform"]);
    assert!(refused.contains("exit: 1") && refused.contains("\"imports.tf\" is there and says something else"), "{refused}");
    assert!(place.read("pgisle.tf").contains("30s") && place.read("imports.tf") == "# mine\n");
    assert!(place.seen(&["export", "terraform", "-overwrite"]).contains("overwritten imports.tf"));
    assert!(place.read("pgisle.tf").contains("40s"));

    // From another folder the way back to the credentials is said, and what cannot be read is told before anything is written.
    assert!(place.seen(&["export", "terraform", "-out=a/b", "-json"]).contains("\"path\": \"a/b/pgisle.tf\""));
    assert!(place.read("a/b/pgisle.tf").contains("project_folder    = \"../..\""));
    let refused = place.seen(&["export", "terraform", "-removed=nowhere.txt", "-out=c"]);
    assert!(refused.contains("the list of Terraform's state cannot be read") && !place.project().join("c").exists(), "{refused}");
}
