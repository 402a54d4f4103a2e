package component

import "strings"

// NSData is the namespace of data forms.
const NSData = "jabber:x:data"

// A Form is a data form (XEP-0004), to be filled in or filled in.
type Form struct {
	Type         string // form, submit, cancel or result
	Title        string
	Instructions string
	Fields       []Field // without FORM_TYPE
	FormType     string  // XEP-0068

	// A table, in a form of type result (XEP-0004 §3.4): its columns, and the values of
	// each row. It is written, not read.
	Reported []Field
	Items    [][]string
}

// A Field is a field of a Form.
type Field struct {
	Var, Type, Label string
	Required         bool
	Values           []string
	Options          []Option
}

// An Option is what a field of type list-single or list-multi can be.
type Option struct{ Label, Value string }

// ParseForm reads a data form. It returns nil if e is none.
func ParseForm(e *Element) *Form {
	if e == nil || !e.Is(NSData, "x") {
		return nil
	}
	f := &Form{Type: e.AttrValue("type"), Title: e.Child(NSData, "title").Text()}
	for _, n := range e.Nodes {
		if n.Element == nil || !n.Element.Is(NSData, "field") {
			continue
		}
		field := Field{Var: n.Element.AttrValue("var"), Type: n.Element.AttrValue("type"), Label: n.Element.AttrValue("label")}
		for _, v := range n.Element.Nodes {
			if v.Element != nil && v.Element.Is(NSData, "value") {
				field.Values = append(field.Values, v.Element.Text())
			}
		}
		if field.Var == "FORM_TYPE" {
			f.FormType = strings.Join(field.Values, "")
			continue
		}
		f.Fields = append(f.Fields, field)
	}
	return f
}

// Values are those of the field with that name, and if there is one. It may be called
// on nil.
func (f *Form) Values(name string) ([]string, bool) {
	if f != nil {
		for i := range f.Fields {
			if f.Fields[i].Var == name {
				return f.Fields[i].Values, true
			}
		}
	}
	return nil, false
}

// Value is the first value of the field with that name, "" if there is none. It may be
// called on nil.
func (f *Form) Value(name string) string {
	if v, _ := f.Values(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// Element is the form as it is sent.
func (f *Form) Element() *Element {
	x := NewElement(NSData, "x").With("type", f.Type)
	if f.Title != "" {
		x.Add(NewElement(NSData, "title", Text(f.Title)))
	}
	if f.Instructions != "" {
		x.Add(NewElement(NSData, "instructions", Text(f.Instructions)))
	}
	if f.FormType != "" {
		field := Field{Var: "FORM_TYPE", Type: "hidden", Values: []string{f.FormType}}
		if f.Type == "submit" {
			field.Type = ""
		}
		x.Add(field.element())
	}
	for i := range f.Fields {
		x.Add(f.Fields[i].element())
	}
	if len(f.Reported) > 0 {
		reported := NewElement(NSData, "reported")
		for i := range f.Reported {
			reported.Add(f.Reported[i].element())
		}
		x.Add(reported)
	}
	for _, row := range f.Items {
		item := NewElement(NSData, "item")
		for i, v := range row {
			field := Field{Var: f.Reported[i].Var, Values: []string{v}}
			item.Add(field.element())
		}
		x.Add(item)
	}
	return x
}

func (f *Field) element() *Element {
	e := NewElement(NSData, "field")
	for _, a := range []struct{ name, value string }{{"var", f.Var}, {"type", f.Type}, {"label", f.Label}} {
		if a.value != "" {
			e.SetAttr(a.name, a.value)
		}
	}
	if f.Required {
		e.Add(NewElement(NSData, "required"))
	}
	for _, v := range f.Values {
		e.Add(NewElement(NSData, "value", Text(v)))
	}
	for _, o := range f.Options {
		option := NewElement(NSData, "option", NewElement(NSData, "value", Text(o.Value)).Node())
		if o.Label != "" {
			option.SetAttr("label", o.Label)
		}
		e.Add(option)
	}
	return e
}

// Bool is a value of type boolean (XEP-0004 §3.3), and if it is one.
func Bool(v string) (is, ok bool) {
	switch v {
	case "1", "true":
		return true, true
	case "0", "false", "":
		return false, true
	}
	return false, false
}

// FormatBool is how a boolean is written in a form.
func FormatBool(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
